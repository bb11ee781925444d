"""The contract of a source of images: a place that lists encoded images by name and says where the bytes of each lie.

A new kind of source is one file in this folder and one line in `open_source.py`.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ...files.regular import open_nonblocking

PathFilter = Callable[[bytes], bool]


class ByteRange(NamedTuple):
    """The bytes of one encoded image: a whole file, or `size` bytes of it from `offset` on.

    `name` is the end of the image's own name, where that is not the name of the file.
    """

    file: bytes
    offset: int = 0
    size: int | None = None
    name: bytes = b""


class Entry(NamedTuple):
    """A file that a source lists, or a member of an archive.

    An entry with a `reason` is rejected without being opened. A member of an archive has its `offset` there, and the times
    of the archive; a file of its own has the offset -1.
    """

    path: bytes
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    device: int = 0
    reason: str = ""
    detail: str = ""
    offset: int = -1


class Source(Protocol):
    """A collection of encoded images; each has a name, which is a path below `root`.

    `unlabeled` says, with advice, why the folders in these names can't be classes; it is empty where they can.
    """

    root: Path
    unlabeled: str

    @property
    def key(self) -> bytes:
        """The bytes that identify the source in the cache of scans."""
        ...

    def entries(self, accept: PathFilter) -> Iterator[Entry]:
        """Yield every entry whose path `accept` returns true for."""
        ...

    def files(self, accept: PathFilter) -> Iterator[Entry]:
        """Yield an entry for each file that the entries lie in: where they are files of their own, `entries` again.

        As long as none of these changes, `entries` gives the same; so archives need not be read to see that.
        """
        ...

    def share(self, number: int, count: int) -> "Source":
        """Return one of `count` parts of the source, numbered from 0, with the same key; each file lies in one of them."""
        ...

    def byte_range(self, name: bytes, offset: int, size: int) -> ByteRange:
        """Return where the bytes of an entry lie; offset and size in bytes, as the entry gave them."""
        ...

    def hint(self, rejected: Sequence[bytes]) -> str:
        """Return advice for the end of the summary of a scan, given the names that were rejected; often empty."""
        ...


def read_bytes(byte_range: ByteRange) -> bytes:
    """Return the bytes that lie there; fewer than its size where the file has become shorter."""
    with open_nonblocking(byte_range.file) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no regular file any more")
        file.seek(byte_range.offset)
        return file.read(-1 if byte_range.size is None else byte_range.size)


def file_entry(name: bytes, file: "os.DirEntry[bytes] | Path") -> Entry:
    """Return the entry of a file with its size, times and numbers, or with the reason why it can't be an image."""
    try:
        status = file.stat()
    except OSError as error:
        dangling = file.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
        return Entry(name, reason="dangling_link" if dangling else reason_of(error), detail=error.strerror or "")
    if not stat.S_ISREG(status.st_mode):
        return Entry(name, reason="not_a_regular_file")
    return Entry(name, status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def reason_of(error: OSError) -> str:
    """The reason for a rejection, by the error that reading raised."""
    return "permission_denied" if isinstance(error, PermissionError) else "io_error"


def join_path(folder: bytes, path: bytes) -> bytes:
    """Join two paths as pathlib does, for names in any encoding or none."""
    return folder + b"/" + path if folder and path else folder or path
