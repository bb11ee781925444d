"""A folder and all folders below it."""

import heapq
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import InputError
from ...files.paths import nearest_existing_folder, shell_quoted
from ...files.text import printable
from .ahead import batches, map_ahead
from .source import ByteRange, Entry, PathFilter, file_entry, join_path, reason_of

BATCH = 256  # files whose sizes and times are asked for at a time
THREADS, SLOW = 32, 256 * 1e-4  # threads that ask where a batch takes longer than so many seconds, as over a network

# The path of a file, and its entry in a folder, or already the reason why it is none.
Named = tuple[bytes, "Entry | os.DirEntry[bytes]"]


class Folder:
    """Every file below a folder, by its path from there; or those of one of `count` shares, by a digest of the path."""

    unlabeled = ""

    def __init__(self, root: Path, number: int = 0, count: int = 1):
        self.root, self.number, self.count = root.resolve(), number, count

    @property
    def key(self) -> bytes:
        return os.fsencode(self.root)

    def entries(self, accept: PathFilter) -> Iterator[Entry]:
        return walk(self.key, self._of_share(accept))

    def files(self, accept: PathFilter) -> Iterator[Entry]:
        return self.entries(accept)

    def share(self, number: int, count: int) -> "Folder":
        return Folder(self.root, number, count)

    def _of_share(self, accept: PathFilter) -> PathFilter:
        number, count = self.number, self.count
        return accept if count == 1 else lambda path: zlib.crc32(path) % count == number and accept(path)

    def byte_range(self, name: bytes, offset: int, size: int) -> ByteRange:
        return ByteRange(join_path(self.key, name))

    def hint(self, rejected: Sequence[bytes]) -> str:
        """Say how to read the tar shards in the folder: they are read only when they are named."""
        folders = Counter(Path(os.fsdecode(name)).parent for name in rejected if name.endswith(b".tar"))
        if not folders:
            return ""
        first, here = next(iter(folders.items()))
        shards = f"{here:,} tar shard{'' if here == 1 else 's'}"
        elsewhere = folders.total() - here
        others = f" ({elsewhere:,} more in other folders)" if elsewhere else ""
        pattern = shell_quoted(self.root / first / "*.tar")
        return f"; to use the images in {shards}{others}, name {'it' if here == 1 else 'them'}: {pattern}"


def open_folder(data: Sequence[Path]) -> Folder:
    """Return the folder that one path names; InputError says why it is none."""
    (folder,) = data
    if not folder.exists():
        above = nearest_existing_folder(folder.parent)
        raise InputError(f"there is no folder {printable(folder)}: look for it with `ls {shell_quoted(above)}`")
    if not folder.is_dir():
        raise InputError(
            f"{printable(folder)} is a file, not a folder: name the folder that the images are in, or tar shards"
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"the folder {printable(folder)} can't be read: try `ls -ld {shell_quoted(folder)}`")
    return Folder(folder)


def walk(root: bytes, accept: PathFilter) -> Iterator[Entry]:
    """Yield every accepted entry below root that is no folder.

    Where a disk or a network is slow to answer, threads ask for sizes and times, some files ahead.
    """

    def asked(batch: Sequence[Named]) -> list[Entry]:
        return [item if isinstance(item, Entry) else file_entry(name, item) for name, item in batch]

    named = (item for item in _walk(root) if accept(item[0]))
    for entries in map_ahead(asked, batches(named, BATCH), THREADS, SLOW):
        yield from entries


def _walk(root: bytes) -> Iterator[Named]:
    """Yield the path of everything below root that is no folder, and what is known about it without asking for more.

    Links are followed, and each real folder is listed once. A folder is known by its real path, because two folders of a
    union, or of a file system in user space, may have the same number. Real folders go before links to folders, and
    links go in the order of their paths: so the names that are found for a file do not depend on the order in which a
    file system lists its names.
    """
    folders, links, listed = [(b"", os.path.realpath(root))], list[bytes](), set[bytes]()
    while folders or links:
        folder, real = folders.pop() if folders else _followed(root, heapq.heappop(links))
        if real in listed:
            continue
        listed.add(real)
        prefix = folder and folder + b"/"
        for item in _list_folder(root, folder):
            if isinstance(item, Entry):
                yield item.path, item
            elif not _is_folder(item):
                yield prefix + item.name, item
            elif item.is_symlink():
                heapq.heappush(links, prefix + item.name)
            else:
                folders.append((prefix + item.name, join_path(real, item.name)))


def _followed(root: bytes, link: bytes) -> tuple[bytes, bytes]:
    return link, os.path.realpath(join_path(root, link))


def _list_folder(root: bytes, folder: bytes) -> Iterator["Entry | os.DirEntry[bytes]"]:
    """Yield what is in a folder, and an entry for the folder where it can't be read."""
    try:
        with os.scandir(join_path(root, folder)) as items:
            yield from items
    except OSError as error:
        if not folder:
            raise
        yield Entry(folder + b"/", reason=reason_of(error), detail=error.strerror or "")


def _is_folder(item: "os.DirEntry[bytes]") -> bool:
    try:
        return item.is_dir()
    except OSError:
        return False  # the entry of the file says which
