"""A read-only collection of encoded images with random access."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
from jaxtyping import Int32, Int64

from .. import log
from ..artifacts import show
from ..errors import DataError, InputError, UsageError
from .decode import FORMATS
from .index import Index, Near, fingerprint
from .patience import patiently
from .readers import at_work
from .scan import Memory, memory_of, scan

ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")

Positions = Int64[np.ndarray, "n"]


class Images(Protocol):
    """Images by position. A subset numbers its own from 0."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def widths(self) -> Int32[np.ndarray, "images"]: ...

    @property
    def heights(self) -> Int32[np.ndarray, "images"]: ...

    def __len__(self) -> int: ...

    def read(self, positions: Positions) -> list[bytes]:
        """The images' files, as they are."""
        ...

    def names(self, positions: Positions) -> list[bytes]:
        """What to call them: paths, for those who look."""
        ...

    def subset(self, positions: Positions) -> Self: ...


class Folder:
    """The used images of a folder's index, or those at `rows` of it. What is found changed is struck out of `memory`,
    the file of what scans have learned of this folder."""

    def __init__(self, root: Path, index: Index, rows: Positions | None = None, memory: Path | None = None):
        self.root, self.index, self.memory = root, index, memory
        self.rows = np.arange(index.used) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.index.hashes, self.rows)

    @cached_property
    def widths(self) -> Int32[np.ndarray, "images"]:
        return self.index.widths[self.rows]

    @cached_property
    def heights(self) -> Int32[np.ndarray, "images"]:
        return self.index.heights[self.rows]

    def names(self, positions: Positions) -> list[bytes]:
        names: list[bytes] = self.index.table["source"].take(pa.array(self.rows[positions])).to_pylist()
        return names

    def subset(self, positions: Positions) -> "Folder":
        return Folder(self.root, self.index, self.rows[positions], self.memory)

    def whole(self) -> "Folder":
        """All images of the index."""
        return Folder(self.root, self.index, memory=self.memory)

    def read(self, positions: Positions) -> list[bytes]:
        """Each file as it was when the folder was looked through, byte for byte; DataError names one that is not."""
        rows = self.rows[positions]
        expected = zip(self.names(positions), self.index.sizes[rows], self.index.hashes[rows])
        return [self._read(name, int(size), digest.tobytes()) for name, size, digest in expected]

    def _read(self, name: bytes, size: int, digest: bytes) -> bytes:
        try:
            with at_work(name):
                data = patiently(lambda: _content(self.root / os.fsdecode(name)))
        except OSError as error:
            raise self.changed(name, error.strerror or str(error)) from error
        if len(data) != size:
            raise self.changed(name, f"it had {size:,} bytes, it has {len(data):,}")
        if hashlib.sha256(data).digest() != digest:
            raise self.changed(name, "it has as many bytes as before, but others")
        return data

    def changed(self, name: bytes, how: str) -> DataError:
        """An image is not what it was when the folder was looked through."""
        if self.memory is not None:
            Memory.load(self.memory).forget(name)
        return DataError(
            f"{show(name)} in {show(self.root)} has changed since the folder was looked through: {how}. Put it back and "
            "type the same command again, or take another out= to begin with the folder as it is now"
        )


def _content(path: Path) -> bytes:
    """All of a file, without waiting for what has taken its place: a FIFO has no end, or not even a beginning."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no regular file any more")
        return file.read()


def open_images(
    data: str | Path,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    near_duplicates: Near = "keep",
    limit: int | None = None,
    cache: Path,
    threads: int | None = None,
) -> Folder:
    """The images of a folder, whatever else lies in it; what was left out, and why, is in the index.

    Of pictures that look alike all are used, unless `near_duplicates` is "drop": then one of them is.
    """
    root = _existing(Path(data))
    patterns = {"include": _several(include), "exclude": _several(exclude)}
    index = scan(root, **patterns, near_duplicates=near_duplicates, threads=threads, cache=cache)
    log.say(index.summary)
    _check_some(root, index)
    memory = memory_of(os.fsencode(root), cache)
    return Folder(root, index if limit is None else index.limited(limit), memory=memory)


def _several(patterns: str | Sequence[str]) -> Sequence[str]:
    return (patterns,) if isinstance(patterns, str) else patterns


def _existing(root: Path) -> Path:
    if not root.exists():
        raise InputError(f"there is no folder {show(root)}: look for it with `ls {show(root.absolute().parent)}`")
    if root.is_file() and _begins(root).startswith(ARCHIVES):
        raise UsageError(f"{show(root)} is an archive, and none is ever unpacked here: unpack it, and name the folder")
    if not root.is_dir():
        raise InputError(f"{show(root)} is a file, not a folder: name the folder that the images are in")
    if not os.access(root, os.R_OK | os.X_OK):
        raise InputError(f"the folder {show(root)} can't be read: try `ls -ld {show(root)}`")
    return root.resolve()


def _begins(path: Path) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(8)
    return b""


def _check_some(root: Path, index: Index) -> None:
    if not index.found:
        raise InputError(
            f"no images found in {show(root)}; looked for {', '.join(FORMATS)} files by their content, in all folders "
            "below it. Check the folder, and include= and exclude= if you gave them"
        )
    if not index.used:
        raise DataError(
            f"no image in {show(root)} can be used: {index.summary}. "
            f"`divcon look {show(root)}` lists each with its reason"
        )
