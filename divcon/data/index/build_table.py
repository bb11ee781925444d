"""The rows of an index in their order: which files are used, which are duplicates of them, and which are rejected.

Only positions and hashes are held in memory, some 80 bytes a file; the columns stay where the scan has written them.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from ...files.disk_errors import disk_errors
from ..sources.names import is_hidden
from .batched import ROWS, Rows, blocks, temporary_file
from .near_duplicates import THUMBNAIL_BYTES, Aspects, Thumbnails, find_near_duplicates
from .one_batch import in_one_batch
from .table import HASH_BYTES, SCHEMA, STATUSES, FoundFiles, Hashes, NearDuplicates, as_texts, hashes_of

WRITTEN_ROWS = 32_768  # that are gathered at a time for the final table
FROM_FOUND = ["path_bytes", "width", "height", "offset", "bytes", "hash", "reason", "detail"]

Originals = Int64[np.ndarray, "n"]
Pairing = Callable[[Iterator[Hashes], int, Callable[[], Originals]], Originals]


def pair_each_time(hashes: Iterator[Hashes], n: int, pair: Callable[[], Originals]) -> Originals:
    """Compare thumbnails, and keep nothing."""
    return pair()


def build_table(
    found: FoundFiles, near_duplicates: NearDuplicates, cache: Path, pairing: Pairing = pair_each_time
) -> pa.Table:
    """Return a table of SCHEMA: the used files by hash, then the duplicates and the rejected files by path.

    Of files with the same bytes, the one whose path is first in byte order is used, hidden paths last. Of images that
    look alike, when they are dropped, the one whose hash is first is used. `pairing` may know the near-duplicates of
    images with these hashes; else it calls what finds them. `cache` is for temporary files.
    """
    accepted = _accepted(found)
    distinct, copies, copied = _by_hash(found, np.flatnonzero(accepted))
    original = _near_duplicates(found, distinct, cache, pairing)
    used = original < 0 if near_duplicates == "drop" else np.ones(len(distinct), np.bool_)
    dropped = np.flatnonzero(~used)
    duplicates = np.concatenate([copies, distinct[dropped]])
    # What a duplicate duplicates: a used image, or what a dropped one looks like.
    same_as = np.where(used, np.arange(len(distinct)), original)[np.concatenate([copied, dropped])]
    by_path, rejected = _by_path(found, duplicates), np.flatnonzero(~accepted)
    rejected = rejected[_by_path(found, rejected)]
    parts = distinct[used], duplicates[by_path], rejected
    originals = original[used], same_as[by_path], np.full(len(rejected), -1, np.int64)
    return _assembled(found, parts, _rows_of(distinct, np.concatenate(originals)), cache)


def _accepted(found: FoundFiles) -> Bool[np.ndarray, "found"]:
    """Return True for each file that is an image."""
    parts = [found.take(rows, ["reason"])["reason"] for rows in blocks(len(found))]
    accepted = [pc.equal(reasons, "").to_numpy() for reasons in parts]
    return np.concatenate([np.empty(0, np.bool_), *accepted])


def _by_hash(found: FoundFiles, rows: Rows) -> tuple[Rows, Rows, Rows]:
    """Return the row of one file for each image, by hash; the rows of all others; and the position of the image of each."""
    hashes = np.empty((len(rows), HASH_BYTES), np.uint8)
    for block in blocks(len(rows)):
        hashes[block] = hashes_of(found.take(rows[block], ["hash"])["hash"])
    order = np.argsort(as_texts(hashes), kind="stable")
    is_first = np.ones(len(rows), np.bool_)
    for block in blocks(len(rows) - 1):
        is_first[block + 1] = (hashes[order[block + 1]] != hashes[order[block]]).any(1)
    ordered = rows[order]
    del hashes, order
    begins = np.flatnonzero(is_first)
    sizes = np.diff(begins, append=len(rows))
    if len(begins) < len(rows):
        several = np.repeat(sizes > 1, sizes)
        image = np.repeat(np.flatnonzero(sizes > 1), sizes[sizes > 1])
        ordered[several] = _best_name_first(found, ordered[several], image)
    del sizes
    others = np.flatnonzero(~is_first)
    return ordered[begins], ordered[others], np.searchsorted(begins, others, side="right") - 1


def _best_name_first(found: FoundFiles, rows: Rows, image: Rows) -> Rows:
    """Sort the files of each image by path, hidden paths last."""
    paths = found.take(rows, ["path_bytes"])["path_bytes"]
    hidden = pa.array([is_hidden(path.as_py()) for path in paths], pa.bool_())
    table = pa.table({"image": image, "hidden": hidden, "path": paths})
    order = pc.sort_indices(table, [("image", "ascending"), ("hidden", "ascending"), ("path", "ascending")])
    best_first: Rows = rows[order.to_numpy()]
    return best_first


def _by_path(found: FoundFiles, rows: Rows) -> Rows:
    """Return the order of these files by path."""
    paths = found.take(rows, ["path_bytes"])["path_bytes"]
    order: Rows = pc.sort_indices(paths).to_numpy().astype(np.int64)
    return order


def _near_duplicates(found: FoundFiles, distinct: Rows, cache: Path, pairing: Pairing) -> Originals:
    """Return for each image the position of the one before it that it looks like, or -1."""
    shown = [
        pc.equal(pc.binary_length(found.take(distinct[block], ["thumbnail"])["thumbnail"]), THUMBNAIL_BYTES)
        for block in blocks(len(distinct))
    ]
    has_thumbnail = np.concatenate([np.empty(0, np.bool_), *(part.to_numpy() for part in shown)])
    rows = distinct if has_thumbnail.all() else distinct[has_thumbnail]
    hashes = (hashes_of(found.take(rows[block], ["hash"])["hash"]) for block in blocks(len(rows)))
    near = pairing(hashes, len(rows), lambda: find_near_duplicates(*_thumbnails(found, rows, cache)))
    if len(rows) == len(distinct):
        return near
    original, with_thumbnail = np.full(len(distinct), -1, np.int64), np.flatnonzero(has_thumbnail)
    original[with_thumbnail] = np.where(near >= 0, with_thumbnail[near], -1)
    return original


def _thumbnails(found: FoundFiles, rows: Rows, cache: Path) -> tuple[Thumbnails, Aspects]:
    """Return the thumbnails of images, mapped from a temporary file, and width / height."""
    aspects = np.empty(len(rows), np.float64)
    file = temporary_file(cache) if len(rows) > ROWS else io.BytesIO()
    with disk_errors(cache):
        for block in blocks(len(rows)):
            table = found.take(rows[block], ["width", "height", "thumbnail"])
            aspects[block] = table["width"].to_numpy() / table["height"].to_numpy()
            file.write(b"".join(table["thumbnail"].to_pylist()))
        file.flush()
    flat = file.getbuffer() if isinstance(file, io.BytesIO) else np.memmap(file, np.uint8, "r")
    return np.frombuffer(flat, np.uint8).reshape(-1, THUMBNAIL_BYTES), aspects


def _rows_of(distinct: Rows, positions: Rows) -> Rows:
    """Return the row of the image at each position, and -1 for -1."""
    return np.where(positions < 0, -1, distinct[positions]) if len(distinct) else positions


def _assembled(found: FoundFiles, parts: Sequence[Rows], originals: Rows, cache: Path) -> pa.Table:
    """Return the rows of used, duplicate and rejected files, each with the hash at the row of its original (-1: none)."""
    rows, ends = np.concatenate(parts), np.cumsum([len(part) for part in parts])
    assert len(rows) == len(found)

    def columns(block: Rows) -> pa.Table:
        table = found.take(rows[block], FROM_FOUND)
        status = pa.array(STATUSES).take(pa.array(np.searchsorted(ends, block, side="right")))
        has_original = originals[block] >= 0
        hashes = found.take(np.maximum(originals[block], 0), ["hash"])["hash"]
        same_as = pc.if_else(pa.array(has_original), hashes, pa.scalar(None, hashes.type))
        return table.append_column("status", status).append_column("duplicate_of", same_as).select(SCHEMA.names)

    return in_one_batch((columns(block) for block in blocks(len(rows), WRITTEN_ROWS)), SCHEMA, cache)
