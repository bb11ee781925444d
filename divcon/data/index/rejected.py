"""A few of the rejected files by name, for people; index.py writes a table of all."""

import os
from typing import NamedTuple

import pyarrow.compute as pc

from ...files.text import printable
from .index import Index


class Rejected(NamedTuple):
    """A file that is not used; `path` is below the root of the source."""

    path: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}{f' ({printable(self.detail)})' if self.detail else ''}"


def sample_rejected(index: Index, n: int) -> list[Rejected]:
    """Return at most n rejected files, of every reason if possible: the first of each by path, then the second of each."""
    reasons = list(index.reasons)
    by_reason = [_first_rejected(index, reason, n) for reason in reasons]
    turns = [file for turn in range(n) for files in by_reason for file in files[turn : turn + 1]]
    return sorted(turns[:n], key=lambda file: (reasons.index(file.reason), file.path))


def _first_rejected(index: Index, reason: str, n: int) -> list[Rejected]:
    rows = index.rejected_rows.filter(pc.equal(index.rejected_rows["reason"], reason)).slice(0, n)
    paths, details = rows["path_bytes"].to_pylist(), rows["detail"].to_pylist()
    return [Rejected(os.fsdecode(path), reason, detail) for path, detail in zip(paths, details)]
