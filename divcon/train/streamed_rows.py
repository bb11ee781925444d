"""Rows of numbers that are computed for images, in a mapped file that grows part by part: who begins again after a kill goes on
after the last finished part."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped
from numpy.typing import NDArray

from .. import dist, failpoints
from ..errors import DamagedError
from ..files.atomic import fsync, make_folder, remove_path
from ..files.disk_errors import disk_errors
from ..files.integrity import write_json
from ..files.text import printable
from ..log import info, part_of, warning
from ..runs.folder import begun_rows, parts_of_rows
from ..runs.json_files import load_record
from .target_cache import allocate

BLOCK = 16_384  # images whose rows are in memory at a time
PART = 4 * BLOCK  # rows
Positions = Int64[np.ndarray, " b"]
RowsAt = Callable[[Positions], Shaped[np.ndarray, "b *s"]]  # from the positions of images to their rows
READ_ERRORS = (OSError, ValueError, EOFError, DamagedError)


@dataclass(frozen=True)
class PartsRecord:
    """The list beside a file of rows: what they are, how many there are, and the SHA-256 of each finished part."""

    key: str
    rows: int
    part: int
    hashes: list[str]


def nothing() -> None:
    """Do nothing: the file has no owner."""


def stream_rows(
    file: Path, positions: Positions, rows_at: RowsAt, key: str, check_owner: Callable[[], None] = nothing
) -> NDArray[Any]:
    """Write the rows of images at some positions to a file of numpy, block by block; return it, mapped.

    A part of PART rows is finished once its hash is in the list beside the file. What is finished for the same `key` is not
    computed again: so the key stands for all that the rows depend on. `check_owner` is called before a part is listed; it
    raises OwnedError if another process owns the file now. Memory holds the rows of one block. The room of the file is taken
    first: a disk that fills up later would kill the process at a write. The list stays, until `forget_parts`. All ranks call this
    together, and get the same rows.
    """
    record = PartsRecord(key, len(positions), PART, [])
    with disk_errors(file):
        hashes: list[str] = dist.on_leader(lambda: _finished(file, record).hashes)
        for start in range(len(hashes) * PART, len(positions), PART):
            digest = _write_part(begun_rows(file), positions, start, rows_at)
            failpoints.at("rows.written")
            hashes = [*hashes, digest]
            if dist.is_leader():
                check_owner()
                write_json(parts_of_rows(file), asdict(replace(record, hashes=hashes)))
            failpoints.at("rows.listed")
        dist.on_leader(lambda: _complete(file))
    return _mapped(file)


def _complete(file: Path) -> None:
    """Give the finished file its name."""
    if begun_rows(file).exists():
        begun_rows(file).replace(file)
        fsync(file.parent)


def forget_parts(file: Path) -> None:
    """Remove the list of parts beside a file that is complete."""
    remove_path(parts_of_rows(file))


def _mapped(file: Path) -> NDArray[Any]:
    rows: NDArray[Any] = np.load(file, mmap_mode="r")
    return rows


def _write_part(file: Path, positions: Positions, start: int, rows_at: RowsAt) -> str:
    """Compute the rows of a part, write them through to the disk, and return their hash. All ranks compute; the leader writes."""
    stop = min(start + PART, len(positions))
    for begin in range(start, stop, BLOCK):
        with part_of(begin, len(positions)):
            block = rows_at(positions[begin : min(begin + BLOCK, stop)])
        if dist.is_leader():
            _write_block(file, block, begin, len(positions))
    if not dist.is_leader():
        return ""
    fsync(file)
    return _hash(_mapped(file)[start:stop])


def _write_block(file: Path, block: Shaped[np.ndarray, "b *s"], begin: int, n: int) -> None:
    if not file.exists():
        allocate(file, (n, *block.shape[1:]), block.dtype)
    rows = np.load(file, mmap_mode="r+")
    rows[begin : begin + len(block)] = block
    rows.flush()


def _hash(rows: Shaped[np.ndarray, "b *s"]) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).view(np.uint8).data).hexdigest()


def _finished(file: Path, wanted: PartsRecord) -> PartsRecord:
    """Return the record of the parts that are finished and as they were written; remove what can't be gone on with."""
    make_folder(file.parent)
    begun, listed = begun_rows(file), parts_of_rows(file)
    hashes = _intact(begun if begun.exists() else file, listed, wanted) if listed.exists() else []
    if not begun.exists() and len(hashes) * wanted.part < wanted.rows:
        hashes = []  # a complete file is not written to: it may be mapped by others
    if not hashes:
        remove_path(begun)
        remove_path(listed)
    else:
        info(
            f"{printable(file)}: {min(wanted.rows, len(hashes) * wanted.part):,} of {wanted.rows:,} rows are there already"
        )
    return replace(wanted, hashes=hashes)


def _intact(file: Path, listed: Path, wanted: PartsRecord) -> list[str]:
    """Return the hashes of the first parts that are as they were written; none if the list is that of other rows."""
    try:
        record = load_record(PartsRecord, listed)
        if replace(record, hashes=[]) != wanted:
            return []
        rows = _mapped(file)
        found = [_hash(rows[i * wanted.part : (i + 1) * wanted.part]) for i in range(len(record.hashes))]
    except READ_ERRORS as error:
        warning(f"{printable(file)} can't be gone on with ({printable(str(error))}); its rows are computed again")
        return []
    same = [a == b for a, b in zip(found, record.hashes, strict=True)]
    if not all(same):
        warning(
            f"{printable(file)} is damaged from row {same.index(False) * wanted.part:,} on; these are computed again"
        )
    return record.hashes[: same.index(False)] if False in same else record.hashes
