"""A folder and all folders below it."""

import errno
import heapq
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .byte_range import ByteRange, Entry, Wanted, below, reason_of


class Folder:
    """Every file below a folder, by its path from there."""

    def __init__(self, root: Path):
        self.root = root.resolve()

    @property
    def key(self) -> bytes:
        return os.fsencode(self.root)

    def entries(self, wanted: Wanted = lambda path: True) -> Iterator[Entry]:
        return walk(self.key, wanted)

    def place(self, name: bytes, offset: int, size: int) -> ByteRange:
        return ByteRange(below(self.key, name))


def walk(root: bytes, wanted: Wanted = lambda path: True) -> Iterator[Entry]:
    """Every entry below root that is no folder. Links are followed, each real folder once: by its real path, since two
    folders may have the same number (unions, file systems in user space).

    Real folders go before links to folders, and those in the order of their paths: which of the names of a file are
    found does not depend on the order in which a file system lists them.
    """
    folders, links, seen = [(b"", os.path.realpath(root))], list[bytes](), set[bytes]()
    while folders or links:
        folder, real = folders.pop() if folders else _followed(root, heapq.heappop(links))
        if real in seen:
            continue
        seen.add(real)
        for item in _listed(root, folder):
            if isinstance(item, Entry):
                if wanted(item.path):
                    yield item
            elif item.is_symlink():
                heapq.heappush(links, below(folder, item.name))
            else:
                folders.append((below(folder, item.name), below(real, item.name)))


def _followed(root: bytes, link: bytes) -> tuple[bytes, bytes]:
    return link, os.path.realpath(below(root, link))


def _listed(root: bytes, folder: bytes) -> Iterator["Entry | os.DirEntry[bytes]"]:
    """The content of a folder: entries, and folders as they are."""
    try:
        with os.scandir(below(root, folder)) as items:
            for item in items:
                yield _entry(below(folder, item.name), item)
    except OSError as error:
        if not folder:
            raise
        yield Entry(folder + b"/", reason=reason_of(error), detail=error.strerror or "")


def _entry(path: bytes, item: "os.DirEntry[bytes]") -> "Entry | os.DirEntry[bytes]":
    try:
        if item.is_dir():
            return item
        status = item.stat()
    except OSError as error:
        dangling = item.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
        return Entry(path, reason="dangling_link" if dangling else reason_of(error), detail=error.strerror or "")
    if not stat.S_ISREG(status.st_mode):
        return Entry(path, reason="not_a_regular_file")
    return Entry(path, status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)
