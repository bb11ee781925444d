"""Where encoded images lie: each in a file of its own, or many behind one another in a shard."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ...files.regular import open_nonblocking

Wanted = Callable[[bytes], bool]


class ByteRange(NamedTuple):
    """A file; or, where `size` is given, so many bytes of it from `offset` on; `name` is the end of what those are called."""

    file: bytes
    offset: int = 0
    size: int | None = None
    name: bytes = b""


class Entry(NamedTuple):
    """A name that was come upon; with a reason, it never gets as far as being opened. One in a shard has an offset there,
    and the shard's times."""

    path: bytes
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    device: int = 0
    reason: str = ""
    detail: str = ""
    offset: int = -1


class Source(Protocol):
    """Files, or members of files, by name: the name is that below `root`."""

    root: Path

    @property
    def key(self) -> bytes:
        """Under which what was learned of it is kept on this machine."""
        ...

    def entries(self, wanted: Wanted = ...) -> Iterator[Entry]:
        """All that is there and wanted."""
        ...

    def place(self, name: bytes, offset: int, size: int) -> ByteRange:
        """Where an entry's bytes lie."""
        ...


def read_bytes(place: ByteRange) -> bytes:
    """The bytes that lie there, as far as there are any."""
    with open_nonblocking(place.file) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no regular file any more")
        file.seek(place.offset)
        return file.read(-1 if place.size is None else place.size)


def reason_of(error: OSError) -> str:
    return "permission_denied" if isinstance(error, PermissionError) else "io_error"


def below(folder: bytes, path: bytes) -> bytes:
    """What pathlib does for text, for names in any encoding or none."""
    return folder + b"/" + path if folder and path else folder or path
