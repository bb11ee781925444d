"""The table of an index: a row for each file that was found, used or not and why."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt8
from numpy.typing import NDArray

from .batched import BatchedTable, Rows, batch_of

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
# What is known about a file that was found, before it is known whether it is used.
FOUND = pa.schema(
    [
        ("path_bytes", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("hash", pa.binary(HASH_BYTES)),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("thumbnail", pa.binary()),
        ("offset", pa.int64()),
    ]
)

Hashes = UInt8[np.ndarray, "n 32"]


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


class FoundFiles(Protocol):
    """The files that a scan found, as a table of FOUND."""

    def __len__(self) -> int: ...

    def take(self, rows: Rows, columns: Sequence[str]) -> pa.Table:
        """Return these columns of these rows."""
        ...


def found_files(found: Iterable[Found]) -> BatchedTable:
    """Return files as a table of FOUND."""
    return BatchedTable(FOUND, [batch_of(list(found), FOUND)])


def check_table(table: pa.Table) -> pa.Table:
    """Return the table if it is that of an index, else raise ValueError or ArrowException."""
    table.validate(full=True)  # to read an array with wrong buffers can end the process
    if not table.schema.equals(SCHEMA):
        raise ValueError("it has other columns than an index")
    counts = [int(pc.sum(pc.equal(table["status"], status)).as_py() or 0) for status in STATUSES]
    ends = [sum(counts[:i]) for i in range(4)]
    in_order = [
        pc.all(pc.equal(table["status"].slice(ends[i], counts[i]), status)).as_py() is not False
        for i, status in enumerate(STATUSES)
    ]
    if ends[-1] != len(table) or not all(in_order) or table["hash"].slice(0, counts[0]).null_count:
        raise ValueError("its rows are not in the order of an index")
    return table


def hashes_of(column: pa.ChunkedArray) -> Hashes:
    """Return hashes as bytes; a missing one is zeros."""
    if not len(column):
        return np.empty((0, HASH_BYTES), np.uint8)
    filled = pc.fill_null(column, bytes(HASH_BYTES)) if column.null_count else column
    chunk = filled.combine_chunks()
    flat = np.frombuffer(chunk.buffers()[1], np.uint8)[HASH_BYTES * chunk.offset :][: HASH_BYTES * len(chunk)]
    return flat.reshape(-1, HASH_BYTES)


def positions_of(hashes: Hashes, in_order: Hashes) -> Rows:
    """Return the position of each hash among hashes in order that hold it."""
    return np.searchsorted(as_texts(in_order), as_texts(hashes))


def as_texts(hashes: Hashes) -> NDArray[np.bytes_]:
    """Return hashes as texts, which numpy compares byte by byte; all have one length, so that zeros at the end count."""
    return np.ascontiguousarray(hashes).view(f"S{HASH_BYTES}").ravel()
