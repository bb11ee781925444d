"""Which files were rejected: a few of them by name, for people who look; all of them are in a table (index.py)."""

import os
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ...files.text import printable
from .index import Index


class Rejected(NamedTuple):
    """A file that is not used; `path` is below the collection's folder."""

    path: str
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}{f' ({printable(self.detail)})' if self.detail else ''}"


def sample(index: Index, most: int) -> list[Rejected]:
    """At most so many, of every reason if that can be: the first of each, then the second of each, by path."""
    rejected = index.table.filter(pc.equal(index.table["status"], "rejected"))
    firsts = [_first(rejected, reason, most) for reason in index.reasons]
    turns = [row for turn in range(most) for rows in firsts for row in rows[turn : turn + 1]]
    order = {reason: place for place, reason in enumerate(index.reasons)}
    return sorted(turns[:most], key=lambda row: (order[row.reason], row.path))


def _first(rejected: pa.Table, reason: str, most: int) -> list[Rejected]:
    rows: list[dict[str, Any]] = (
        rejected.filter(pc.equal(rejected["reason"], reason))
        .slice(0, most)
        .select(["source", "reason", "detail"])
        .to_pylist()
    )
    return [Rejected(os.fsdecode(row["source"]), row["reason"], row["detail"]) for row in rows]
