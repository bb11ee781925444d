"""A TIFF laid out anew for a decoder that would read it wrong: the same bytes, behind another directory."""

import struct
from collections.abc import Sequence

import numpy as np

from .tiff_directory import (
    BITS,
    BLACK_IS_ZERO,
    COLORS,
    EXTRA,
    FORMAT,
    INKS,
    JPEG_TABLES,
    KINDS,
    PHOTOMETRIC,
    PLANAR,
    SAMPLES,
    STRIP_BYTES,
    STRIPS,
    TILE_BYTES,
    TILES,
    Tags,
    Tiff,
    how_many,
    least_bytes,
    parts,
)


def plane(tiff: Tiff, number: int) -> bytes:
    """A file of one plane alone, as gray of which 0 is black: the same bytes, behind a directory of their own."""
    starts, counts = parts(tiff)
    n = how_many(tiff)
    which = slice(number * n // tiff.samples, (number + 1) * n // tiff.samples)
    places = (TILES, TILE_BYTES) if TILES in tiff.tags else (STRIPS, STRIP_BYTES)
    own = {places[0]: starts[which], places[1]: (counts or least_bytes(tiff, n).tolist())[which]}
    own |= {BITS: [tiff.bits], SAMPLES: [1], PHOTOMETRIC: [BLACK_IS_ZERO], PLANAR: [1]}
    return rewritten(tiff, own, without=(EXTRA, FORMAT, COLORS, INKS))


def extended(tiff: Tiff, noise: bytes) -> bytes:
    """The file with other bytes behind each of its strips or tiles: those of one that is whole are never looked at."""
    starts, counts = parts(tiff)
    longer = [tiff.data[start : start + size] + noise for start, size in zip(starts, counts)]
    sizes = [len(part) for part in longer]
    places = (TILES, TILE_BYTES) if TILES in tiff.tags else (STRIPS, STRIP_BYTES)
    begins = np.cumsum([len(tiff.data), *sizes[:-1]]).tolist()
    return rewritten(tiff._replace(data=b"".join([tiff.data, *longer])), {places[0]: begins, places[1]: sizes})


def rewritten(tiff: Tiff, changes: Tags, without: Sequence[int] = ()) -> bytes:
    """The file with a directory in which some tags are others; the old one is left, and nothing leads to it."""
    tags = {**tiff.tags, **changes}
    tags = {tag: values for tag, values in sorted(tags.items()) if tag not in without and len(values)}
    at = len(tiff.data) + len(tiff.data) % 2
    rows, behind, end = b"", b"", at + 2 + 12 * len(tags) + 4
    for tag, values in tags.items():
        kind = 7 if tag == JPEG_TABLES else 3 if max(values) < 2**16 else 4
        packed = np.array(values, tiff.order + KINDS[kind]).tobytes()
        if len(packed) > 4:
            packed, behind = struct.pack(tiff.order + "I", end + len(behind)), behind + packed + bytes(len(packed) % 2)
        rows += struct.pack(tiff.order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[tiff.order] + struct.pack(tiff.order + "I", at)
    count = struct.pack(tiff.order + "H", len(tags))
    return b"".join([head, tiff.data[8:], bytes(len(tiff.data) % 2), count, rows, bytes(4), behind])
