"""A worked example of a source of images: a text file with the path of an image on each line (CONTRIBUTING.md, "To add").

As a part of the package this file is `divcon/data/sources/path_list.py`, and `open_path_list` stands first in OPENERS.
"""

import copy
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from divcon.data.sources.source import ByteRange, Entry, PathFilter, file_entry, join_path


class PathList:
    """The files that a text file lists, by their paths below its folder."""

    unlabeled = ""  # the folders in these paths may be classes

    def __init__(self, file: Path):
        self.root = file.resolve().parent
        self.names = list(dict.fromkeys(os.fsencode(line) for line in file.read_text().splitlines() if line))

    @property
    def key(self) -> bytes:
        return b"path list\0" + os.fsencode(self.root)

    def entries(self, accept: PathFilter) -> Iterator[Entry]:
        for name in self.names:
            if accept(name):
                yield file_entry(name, self.root / os.fsdecode(name))

    def files(self, accept: PathFilter) -> Iterator[Entry]:
        return self.entries(accept)

    def share(self, number: int, count: int) -> "PathList":
        some = copy.copy(self)
        some.names = self.names[number::count]
        return some

    def byte_range(self, name: bytes, offset: int, size: int) -> ByteRange:
        return ByteRange(join_path(os.fsencode(self.root), name))

    def hint(self, rejected: Sequence[bytes]) -> str:
        return ""


def open_path_list(data: Sequence[Path]) -> PathList | None:
    """Return the list that one path ending in .txt names."""
    return PathList(data[0]) if len(data) == 1 and data[0].suffix == ".txt" and data[0].is_file() else None
