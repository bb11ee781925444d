"""A read-only collection of encoded images with random access."""

import contextlib
import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int32, Int64

from .. import log
from ..errors import MAX_NAMED, DataError, DiskError, InputError, few
from ..files.paths import Data, as_paths, printable_data, shell_quoted
from ..files.text import printable
from .decoding.formats import FORMATS
from .index.index import Index, fingerprint
from .index.known import KnownIndex
from .index.rejected import sample_rejected
from .index.scan import as_patterns, scan
from .index.scan_cache import ScanCache, scan_cache_file
from .index.source_state import source_state
from .index.table import NearDuplicates
from .sources.open_source import open_source
from .sources.reader_threads import reading
from .sources.retry import retry
from .sources.source import Source, read_bytes

Positions = Int64[np.ndarray, "n"]

_forgetting = threading.Lock()  # several readers may find a changed image at once


class Images:
    """The used images of an index, or those at `rows` [n] of it, by position; a subset numbers its images from 0.

    `scan_cache` is the file of what scans of the source found out; an image that has changed is removed from it. `known`
    is the saved index of the source, where a run keeps one.
    """

    def __init__(
        self,
        source: Source,
        index: Index,
        rows: Positions | None = None,
        scan_cache: Path | None = None,
        known: KnownIndex | None = None,
    ):
        self.source, self.index, self.scan_cache, self.known = source, index, scan_cache, known
        self.rows = np.arange(index.used) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """The digest of the images, whatever their names and wherever they lie."""
        return fingerprint(self.index.hashes, self.rows)

    @cached_property
    def widths(self) -> Int32[np.ndarray, "images"]:
        return self.index.widths[self.rows]

    @cached_property
    def heights(self) -> Int32[np.ndarray, "images"]:
        return self.index.heights[self.rows]

    def names(self, positions: Positions) -> list[bytes]:
        """Return the names of the images at `positions` [n]: paths below the root of the source."""
        names: list[bytes] = self.index.table["path_bytes"].take(pa.array(self.rows[positions])).to_pylist()
        return names

    def subset(self, positions: Positions) -> "Images":
        """Return the images at `positions` [n] as a collection of their own."""
        return Images(self.source, self.index, self.rows[positions], self.scan_cache, self.known)

    def whole(self) -> "Images":
        """Return all images of the index."""
        return Images(self.source, self.index, scan_cache=self.scan_cache, known=self.known)

    def save_index(self, folder: Path) -> None:
        """Save the index; with the state of the source, if `folder` is where it was asked for."""
        if self.known is not None and self.known.folder == folder:
            self.known.save(self.index)
        else:
            self.index.save(folder)

    def note_source(self) -> None:
        """Write the state of the source beside its saved index, if that equals this one."""
        if self.known is not None:
            self.known.note(self.index)

    def read(self, positions: Positions) -> list[bytes]:
        """Return the encoded images at `positions` [n]; DataError names one whose bytes have changed since the scan."""
        rows = self.rows[positions]
        index = self.index
        expected = zip(self.names(positions), index.offsets[rows], index.sizes[rows], index.hashes[rows])
        return [self._read(name, int(offset), int(size), digest.tobytes()) for name, offset, size, digest in expected]

    def _read(self, name: bytes, offset: int, size: int, digest: bytes) -> bytes:
        try:
            with reading(name):
                data = retry(lambda: read_bytes(self.source.byte_range(name, offset, size)))
        except OSError as error:
            raise self.changed(name, error.strerror or str(error)) from error
        if len(data) != size:
            raise self.changed(name, f"it had {size:,} bytes, it has {len(data):,}")
        if hashlib.sha256(data).digest() != digest:
            raise self.changed(name, "it has as many bytes as before, but different ones")
        return data

    def changed(self, name: bytes, how: str) -> DataError:
        """Return the error for an image that has changed since the scan; the next scan reads the image again."""
        with _forgetting:
            if self.scan_cache is not None:
                ScanCache.load(self.scan_cache).forget(name)
            if self.known is not None:
                with contextlib.suppress(DiskError):  # the folder of a run that may only be read
                    self.known.forget()
        return DataError(
            f"{printable(name)} in {printable(self.source.root)} has changed since the folder was scanned: {how}. Put it back "
            "and type the same command again, or take another out= to begin with the folder as it is now"
        )


def open_images(
    data: Data,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    near_duplicates: NearDuplicates = "keep",
    limit: int | None = None,
    cache: Path,
    workers: int | None = None,
    known: Path | None = None,
) -> Images:
    """Return the images of a folder, of tar shards, or of another source; the index lists the rejected files.

    `limit` keeps the first images by position. `near_duplicates="drop"` uses one of several images that look alike.
    `known` is the folder where a run has saved the index, or will: if no file has changed since, it is opened as it is.
    InputError where there are no images, DataError where none can be used.
    """
    source, include, exclude = open_source(as_paths(data)), as_patterns(include), as_patterns(exclude)
    saved = None
    if known is not None and limit is None:
        saved = KnownIndex(known, source_state(source, include, exclude, near_duplicates))
    index = saved.open() if saved is not None else None
    if index is None:
        index = scan(
            source, include=include, exclude=exclude, near_duplicates=near_duplicates, workers=workers, cache=cache
        )
    images = _opened(source, index, cache, saved)
    refuse_none(data, images)
    return images if limit is None else Images(source, images.index.limited(limit), scan_cache=images.scan_cache)


def open_indexed_images(data: Data, folder: Path, cache: Path) -> Images:
    """Return the images that the index in a folder lists, without a look at the source: another process has just scanned it."""
    source = open_source(as_paths(data))
    return Images(source, Index.load(folder), scan_cache=scan_cache_file(source, cache))


def scan_images(
    data: Data,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    near_duplicates: NearDuplicates = "keep",
    cache: Path,
    workers: int | None = None,
) -> Images:
    """Return the images of a source, as `open_images` does, also where there are none."""
    source = open_source(as_paths(data))
    patterns = {"include": as_patterns(include), "exclude": as_patterns(exclude)}
    return _opened(
        source, scan(source, **patterns, near_duplicates=near_duplicates, workers=workers, cache=cache), cache
    )


def _opened(source: Source, index: Index, cache: Path, known: KnownIndex | None = None) -> Images:
    log.info(index.summary + _hint(source, index))
    return Images(source, index, scan_cache=scan_cache_file(source, cache), known=known)


def _hint(source: Source, index: Index) -> str:
    return source.hint(index.rejected_rows["path_bytes"].to_pylist())


def refuse_none(data: Data, images: Images, rejected_table: Path | None = None) -> None:
    """Raise InputError where there are no images, and DataError where none can be used.

    `rejected_table` is the table of rejected files that was written, if there is one; the message names it.
    """
    index = images.index
    if not index.found:
        raise InputError(
            f"no images found in {printable_data(data)}; looked for {', '.join(FORMATS)} files by their content, in all folders "
            "below it. Check the folder, and include= and exclude= if you gave them"
        )
    if not index.used:
        raise DataError(
            f"no image in {printable_data(data)} can be used: {index.summary}. For example {few(sample_rejected(index, MAX_NAMED), '; ')}. "
            f"{_where_all_are_listed(data, rejected_table)}{_hint(images.source, index)}"
        )


def _where_all_are_listed(data: Data, rejected_table: Path | None) -> str:
    if rejected_table is not None:
        return f"{printable(rejected_table)} lists each rejected file with its reason"
    paths = as_paths(data)
    words = " ".join(shell_quoted(path) for path in paths) if len(paths) <= MAX_NAMED else "DATA"
    return f"`divcon look {words} rejected=FILE.csv` lists each rejected file with its reason"
