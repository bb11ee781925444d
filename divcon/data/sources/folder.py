"""A folder and all folders below it."""

import contextlib
import heapq
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import InputError
from ...files.paths import nearest_existing_folder, shell_quoted
from ...files.text import printable
from .source import ByteRange, Entry, PathFilter, file_entry, join_path, reason_of


class Folder:
    """Every file below a folder, by its path from there."""

    unlabeled = ""

    def __init__(self, root: Path):
        self.root = root.resolve()

    @property
    def key(self) -> bytes:
        return os.fsencode(self.root)

    def entries(self, accept: PathFilter) -> Iterator[Entry]:
        return walk(self.key, accept)

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
        for item in _list_folder(root, folder):
            if isinstance(item, Entry):
                if accept(item.path):
                    yield item
            elif item.is_symlink():
                heapq.heappush(links, join_path(folder, item.name))
            else:
                folders.append((join_path(folder, item.name), join_path(real, item.name)))


def _followed(root: bytes, link: bytes) -> tuple[bytes, bytes]:
    return link, os.path.realpath(join_path(root, link))


def _list_folder(root: bytes, folder: bytes) -> Iterator["Entry | os.DirEntry[bytes]"]:
    """Yield an entry for each file of a folder, and the folders in it."""
    try:
        with os.scandir(join_path(root, folder)) as items:
            for item in items:
                yield item if _is_folder(item) else file_entry(join_path(folder, item.name), item)
    except OSError as error:
        if not folder:
            raise
        yield Entry(folder + b"/", reason=reason_of(error), detail=error.strerror or "")


def _is_folder(item: "os.DirEntry[bytes]") -> bool:
    with contextlib.suppress(OSError):  # the entry of the file says which
        return item.is_dir()
    return False
