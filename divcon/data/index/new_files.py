"""The files that a scan has to check: each one once, with all names that lead to it."""

import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64

from ..decoding.image_warnings import known_extension
from ..sources.source import ByteRange, Entry, Source
from .batched import blocks
from .listing import Listing

Rows = Int64[np.ndarray, "n"]
Names = list[tuple[int, Entry]]  # the entries that lead to one file, with their rows in the listing

NUMBERS = ["device", "inode", "offset"]


def new_files(source: Source, listing: Listing, rows: Rows) -> Iterator[tuple[ByteRange, Names]]:
    """Yield the byte range of each file that the entries at `rows` lead to, and those entries.

    Entries with equal file numbers may still be two files in a union of file systems, or in one in user space: then their
    real paths differ. A hard link has a real path of its own, and is read as a copy is. So is a link with another extension,
    which the verdict may name: no verdict depends on the other names that a file has.
    """
    order, is_shared, begins = _sorted_by_number(listing, rows)
    alone = np.sort(order[~is_shared])
    for block in blocks(len(alone)):
        for row, entry in zip(rows[alone[block]].tolist(), listing.entries(rows[alone[block]])):
            yield source.byte_range(entry.path, entry.offset, entry.size), [(row, entry)]
    shared = order[is_shared]
    for some in np.split(shared, np.flatnonzero(begins[is_shared])[1:]) if len(shared) else []:
        yield from _by_real_path(source, listing, rows[some])


def _sorted_by_number(listing: Listing, rows: Rows) -> tuple[Rows, Bool[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Return the order of the entries by file number; True for each that shares its number; True for the first of each."""
    numbers = np.empty((len(NUMBERS), len(rows)), np.int64)
    for block in blocks(len(rows)):
        table = listing.table.take(rows[block], NUMBERS)
        numbers[:, block] = [table[name].to_numpy().astype(np.int64) for name in NUMBERS]
    order = np.lexsort(numbers)
    begins = np.ones(len(rows), np.bool_)
    for block in blocks(len(rows) - 1):
        begins[block + 1] = (numbers[:, order[block + 1]] != numbers[:, order[block]]).any(0)
    return order, ~(begins & np.append(begins[1:], True)), begins


def _by_real_path(source: Source, listing: Listing, rows: Rows) -> Iterator[tuple[ByteRange, Names]]:
    files: dict[ByteRange, tuple[ByteRange, Names]] = {}
    for row, entry in zip(rows.tolist(), listing.entries(rows)):
        byte_range = source.byte_range(entry.path, entry.offset, entry.size)
        extension = known_extension(byte_range.name or byte_range.file).encode()
        real = byte_range._replace(file=os.path.realpath(byte_range.file), name=extension)
        files.setdefault(real, (byte_range, []))[1].append((row, entry))
    yield from files.values()
