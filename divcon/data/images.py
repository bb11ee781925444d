"""A read-only collection of encoded images with random access."""

import hashlib
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64

from .. import log
from ..artifacts import show
from ..errors import DataError, InputError
from .decode import FORMATS
from .index import Index, Near, fingerprint
from .patience import patiently
from .places import Source, content
from .readers import at_work
from .scan import Memory, memory_of, scan
from .shards import shards_at
from .tree import Tree

Positions = Int64[np.ndarray, "n"]

_forgetting = threading.Lock()  # several readers may come upon what has changed


class Images:
    """The used images of an index, or those at `rows` of it, by position; a subset numbers its own from 0. What is found
    changed is struck out of `memory`, the file of what scans have learned of this source."""

    def __init__(self, source: Source, index: Index, rows: Positions | None = None, memory: Path | None = None):
        self.source, self.index, self.memory = source, index, memory
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
        """What to call them, for those who look: paths below the source's root."""
        names: list[bytes] = self.index.table["source"].take(pa.array(self.rows[positions])).to_pylist()
        return names

    def subset(self, positions: Positions) -> "Images":
        return Images(self.source, self.index, self.rows[positions], self.memory)

    def whole(self) -> "Images":
        """All images of the index."""
        return Images(self.source, self.index, memory=self.memory)

    def read(self, positions: Positions) -> list[bytes]:
        """The encoded images, each as it was when the folder was looked through, byte for byte; DataError names one that is not."""
        rows = self.rows[positions]
        index = self.index
        expected = zip(self.names(positions), index.offsets[rows], index.sizes[rows], index.hashes[rows])
        return [self._read(name, int(at), int(size), digest.tobytes()) for name, at, size, digest in expected]

    def _read(self, name: bytes, offset: int, size: int, digest: bytes) -> bytes:
        try:
            with at_work(name):
                data = patiently(lambda: content(self.source.place(name, offset, size)))
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
            with _forgetting:
                Memory.load(self.memory).forget(name)
        return DataError(
            f"{show(name)} in {show(self.source.root)} has changed since the folder was looked through: {how}. Put it back "
            "and type the same command again, or take another out= to begin with the folder as it is now"
        )


def open_images(
    data: str | Path,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    near_duplicates: Near = "keep",
    limit: int | None = None,
    cache: Path,
    threads: int | None = None,
) -> Images:
    """The images of a folder, or of tar shards, whatever else is in there; what was left out, and why, is in the index.

    Of pictures that look alike all are used, unless `near_duplicates` is "drop": then one of them is.
    """
    source = source_of(Path(data))
    patterns = {"include": _several(include), "exclude": _several(exclude)}
    index = scan(source, **patterns, near_duplicates=near_duplicates, threads=threads, cache=cache)
    hint = _hint(index) if isinstance(source, Tree) else ""
    log.say(index.summary + hint)
    _check_some(Path(data), index, hint)
    return Images(source, index if limit is None else index.limited(limit), memory=memory_of(source, cache))


def _several(patterns: str | Sequence[str]) -> Sequence[str]:
    return (patterns,) if isinstance(patterns, str) else patterns


def source_of(data: Path) -> Source:
    """A folder, or the tar shards that a name or a pattern stands for."""
    shards = shards_at(data)
    if shards is not None:
        return shards
    if not data.exists():
        raise InputError(f"there is no folder {show(data)}: look for it with `ls {show(data.absolute().parent)}`")
    if not data.is_dir():
        raise InputError(f"{show(data)} is a file, not a folder: name the folder that the images are in, or tar shards")
    if not os.access(data, os.R_OK | os.X_OK):
        raise InputError(f"the folder {show(data)} can't be read: try `ls -ld {show(data)}`")
    return Tree(data)


def _check_some(data: Path, index: Index, hint: str) -> None:
    if not index.found:
        raise InputError(
            f"no images found in {show(data)}; looked for {', '.join(FORMATS)} files by their content, in all folders "
            "below it. Check the folder, and include= and exclude= if you gave them"
        )
    if not index.used:
        raise DataError(
            f"no image in {show(data)} can be used: {index.summary}. "
            f"`divcon look {show(data)}` lists each with its reason{hint}"
        )


def _hint(index: Index) -> str:
    """What to type for tars that lie in a folder: what is in them is not looked at unasked."""
    tars = int(pc.sum(pc.ends_with(index.table["source"], ".tar")).as_py() or 0)
    return f"; what is in {tars:,} tar shards there is read when they are named, as in 'shards/*.tar'" if tars else ""
