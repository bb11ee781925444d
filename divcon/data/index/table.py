"""The table of an index: a row for each file that was found, used or not and why."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..sources.names import is_hidden
from .near_duplicates import THUMBNAIL_BYTES, find_near_duplicates

NearDuplicates = Literal["keep", "drop"]  # to use all images that look alike, or one of them
HASH_BYTES = 32  # of a SHA-256
STATUSES = ["used", "duplicate", "rejected"]  # in the order of the rows
SCHEMA = pa.schema(
    [
        (
            "path_bytes",
            pa.binary(),
        ),  # below the root of the source; of a member of a shard, the shard's path and its name there
        ("width", pa.int32()),  # of the upright image, in pixels
        ("height", pa.int32()),
        ("offset", pa.int64()),  # in the shard, in bytes; -1: a file of its own
        ("bytes", pa.int64()),
        ("hash", pa.binary(HASH_BYTES)),  # null where the file could not be read
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("duplicate_of", pa.binary(HASH_BYTES)),  # the hash of the used image that it equals or looks like; else null
    ]
)


class Found(NamedTuple):
    """A file that a scan found; one without a `reason` is an image of width x height pixels."""

    path: bytes
    width: int = 0
    height: int = 0
    size: int = 0
    hash: bytes | None = None
    reason: str = ""
    detail: str = ""
    thumbnail: bytes = b""
    offset: int = -1


def build_table(found: Iterable[Found], near_duplicates: NearDuplicates = "keep") -> pa.Table:
    """Return a table of SCHEMA: the used files by hash, then the duplicates and the rejected files by path.

    Of files with the same bytes, the one whose path is first in byte order is used, hidden paths last. Of images that
    look alike, when they are dropped, the one whose hash is first is used.
    """
    found = sorted(found)
    distinct = _distinct(found)
    originals = _near_duplicates(distinct)
    used = [file for file in distinct if near_duplicates == "keep" or file.hash not in originals]
    paths, hashes = {file.path for file in used}, {file.hash for file in used}
    rows = [_row(file, "used", originals.get(file.hash)) for file in used]
    for file in found:
        if not file.reason and file.path not in paths:
            rows.append(_row(file, "duplicate", file.hash if file.hash in hashes else originals[file.hash]))
    rows += [_row(file, "rejected") for file in found if file.reason]
    assert len(rows) == len(found)
    columns = zip(*rows) if rows else [()] * len(SCHEMA)
    return pa.table(dict(zip(SCHEMA.names, columns)), SCHEMA)


def _distinct(found: Sequence[Found]) -> list[Found]:
    """Return one file for each image, by hash."""
    distinct: dict[bytes, Found] = {}
    for file in sorted(found, key=lambda file: is_hidden(file.path)):
        if not file.reason:
            distinct.setdefault(file.hash or b"", file)
    return [distinct[digest] for digest in sorted(distinct)]


def _near_duplicates(distinct: Sequence[Found]) -> dict[bytes | None, bytes | None]:
    """Return, for the hash of each image that looks like one before it, the hash of that one."""
    files = [file for file in distinct if file.thumbnail]
    thumbnails = np.frombuffer(b"".join(file.thumbnail for file in files), np.uint8).reshape(-1, THUMBNAIL_BYTES)
    originals = find_near_duplicates(thumbnails, np.array([file.width / file.height for file in files]))
    return {file.hash: files[int(first)].hash for file, first in zip(files, originals) if first >= 0}


def _row(file: Found, status: str, duplicate_of: bytes | None = None) -> tuple[object, ...]:
    size = file.width, file.height, file.offset, file.size
    return (file.path, *size, file.hash, status, file.reason, file.detail, duplicate_of)


def check_table(table: pa.Table) -> pa.Table:
    """Return the table if it is that of an index, else raise ValueError or ArrowException."""
    table.validate(full=True)  # to read an array with wrong buffers can end the process
    if not table.schema.equals(SCHEMA):
        raise ValueError("it has other columns than an index")
    ranks = pc.index_in(table["status"], pa.array(STATUSES)).to_numpy()
    used = int((ranks == 0).sum())
    if np.isnan(ranks).any() or (np.diff(ranks) < 0).any() or table["hash"].slice(0, used).null_count:
        raise ValueError("its rows are not in the order of an index")
    return table
