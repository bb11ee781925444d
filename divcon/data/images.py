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
from ..errors import NAMED, DataError, InputError, few
from ..files.paths import Data, as_paths, nearest_folder, printable_data, shell_quoted
from ..files.text import printable
from .decoding.formats import FORMATS
from .index.index import Index, Near, fingerprint
from .index.rejected import sample
from .index.scan import Memory, memory_of, scan
from .sources.byte_range import Source, read_bytes
from .sources.folder import Folder
from .sources.reader_threads import reading
from .sources.retry import retry
from .sources.tar_shards import shards_at

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
            with reading(name):
                data = retry(lambda: read_bytes(self.source.place(name, offset, size)))
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
            f"{printable(name)} in {printable(self.source.root)} has changed since the folder was looked through: {how}. Put it back "
            "and type the same command again, or take another out= to begin with the folder as it is now"
        )


def open_images(
    data: Data,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    near_duplicates: Near = "keep",
    limit: int | None = None,
    cache: Path,
    workers: int | None = None,
) -> Images:
    """The images of a folder, or of tar shards, whatever else is in there; what was left out, and why, is in the index.
    InputError where there is none, DataError where none can be used.

    Of pictures that look alike all are used, unless `near_duplicates` is "drop": then one of them is.
    """
    images = look_through(
        data, include=include, exclude=exclude, near_duplicates=near_duplicates, cache=cache, workers=workers
    )
    refuse_none(data, images)
    return images if limit is None else Images(images.source, images.index.limited(limit), memory=images.memory)


def look_through(
    data: Data,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    near_duplicates: Near = "keep",
    cache: Path,
    workers: int | None = None,
) -> Images:
    """The same, also where nothing can be used."""
    source = source_of(as_paths(data))
    patterns = {"include": _several(include), "exclude": _several(exclude)}
    index = scan(source, **patterns, near_duplicates=near_duplicates, workers=workers, cache=cache)
    images = Images(source, index, memory=memory_of(source, cache))
    log.info(index.summary + _hint(images))
    return images


def _several(patterns: str | Sequence[str]) -> Sequence[str]:
    return (patterns,) if isinstance(patterns, str) else patterns


def source_of(data: Sequence[Path]) -> Source:
    """A folder, or the tar shards that names or a pattern stand for."""
    shards = shards_at(data)
    if shards is not None:
        return shards
    (folder,) = data
    if not folder.exists():
        above = nearest_folder(folder.parent)
        raise InputError(f"there is no folder {printable(folder)}: look for it with `ls {shell_quoted(above)}`")
    if not folder.is_dir():
        raise InputError(
            f"{printable(folder)} is a file, not a folder: name the folder that the images are in, or tar shards"
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"the folder {printable(folder)} can't be read: try `ls -ld {shell_quoted(folder)}`")
    return Folder(folder)


def refuse_none(data: Data, images: Images, written: Path | None = None) -> None:
    """Say why there is nothing to use; `written` is the table that lists every file with its reason, where there is one."""
    index = images.index
    if not index.found:
        raise InputError(
            f"no images found in {printable_data(data)}; looked for {', '.join(FORMATS)} files by their content, in all folders "
            "below it. Check the folder, and include= and exclude= if you gave them"
        )
    if not index.used:
        raise DataError(
            f"no image in {printable_data(data)} can be used: {index.summary}. Such as {few(sample(index, NAMED), '; ')}. "
            f"{_all_of_them(data, written)}{_hint(images)}"
        )


def _all_of_them(data: Data, written: Path | None) -> str:
    """Say which table has each with its reason, or what to type for one."""
    if written is not None:
        return f"{printable(written)} has each with its reason"
    names = as_paths(data)
    words = " ".join(shell_quoted(path) for path in names) if len(names) <= NAMED else "DATA"
    return f"`divcon look {words} rejected=FILE.csv` writes down each with its reason"


def _hint(images: Images) -> str:
    """What to type for tars that lie in a folder: what is in them is not looked at unasked."""
    if not isinstance(images.source, Folder):
        return ""
    names = images.index.table["source"]
    tars = [Path(os.fsdecode(name)) for name in names.filter(pc.ends_with(names, ".tar")).to_pylist()]
    if not tars:
        return ""
    folder = tars[0].parent
    here = sum(tar.parent == folder for tar in tars)
    shards = (
        f"{here:,} tar shard{'' if here == 1 else 's'} there is read when {'it is' if here == 1 else 'they are'} named"
    )
    others = f" (and {len(tars) - here:,} in other folders)" if here < len(tars) else ""
    return f"; what is in {shards}, as in {shell_quoted(images.source.root / folder / '*.tar')}{others}"
