"""TIFF: what the first directory of a file says, held against the bytes there are, and against what can be read.

Pillow passes over many of these tags and believes the rest. What is not listed here as read is `unsupported_mode`.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt64

from .rejection import Rejected

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 274, 277, 278, 279
MOST, PLANAR, FAX3, FAX4, PREDICTOR, COLORS = 281, 284, 292, 293, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, INKS, EXTRA, FORMAT = 322, 323, 324, 325, 332, 338, 339
SUBFILE, SUBDIRECTORIES, JPEG_TABLES, SUBSAMPLING, FILTERS, DNG = 254, 330, 347, 530, 33421, 50706
SIGNED_MOST, WHOLE_JPEG, JPEG_LENGTH = 341, 513, 514
NEEDED = (
    WIDTH,
    HEIGHT,
    BITS,
    COMPRESSION,
    PHOTOMETRIC,
    FILL_ORDER,
    STRIPS,
    ORIENTATION,
    SAMPLES,
    ROWS_PER_STRIP,
    STRIP_BYTES,
    MOST,
    PLANAR,
    FAX3,
    FAX4,
    PREDICTOR,
    COLORS,
    TILE_WIDTH,
    TILE_HEIGHT,
    TILES,
    TILE_BYTES,
    INKS,
    EXTRA,
    FORMAT,
    SUBFILE,
    SUBDIRECTORIES,
    JPEG_TABLES,
    SUBSAMPLING,
    FILTERS,
    DNG,
    SIGNED_MOST,
    WHOLE_JPEG,
    JPEG_LENGTH,
)
KINDS = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}  # whole numbers, by the type of a tag
MANY = 2**21  # values of one tag: no picture that is allowed has so many parts

BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

RAW, FAX, OLD_JPEG, JPEG = 1, (2, 3, 4), 6, 7
JPEGS = (OLD_JPEG, JPEG)
COMPRESSIONS = {RAW, *FAX, 5, *JPEGS, 8, 32773, 32946, 34925, 50000}  # also LZW, deflate, PackBits, LZMA, Zstandard
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
# How many samples, of how many bits, the colors of a picture have.
READ = {
    WHITE_IS_ZERO: (1, (1, 2, 4, 8, 16)),
    BLACK_IS_ZERO: (1, (1, 2, 4, 8, 12, 16)),
    RGB: (3, (8, 16)),
    PALETTE: (1, (1, 2, 4, 8)),
    CMYK: (4, (8, 16)),
    YCBCR: (3, (8,)),
}
NAMES = {0: "gray, white is 0,", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "separated", 6: "YCbCr", 8: "Lab"}
CAMERA_RAW = "camera RAW; its preview is not the photograph: develop it to TIFF or JPEG"
SAMPLE = {1: "whole", 2: "signed", 3: "floating point", 4: "untyped", 5: "complex", 6: "complex"}
JPEG_END, PADDING = b"\xff\xd9", 16  # bytes that may lie behind it
WHOLE = (1, 4)
MOST_SAMPLES = 6  # that Pillow reads where they lie side by side
REDUCED = 1
PAGES = 16  # that are looked at for one that is no thumbnail
UNASSOCIATED, PREMULTIPLIED = 2, 1

Tags = Mapping[int, Sequence[int]]


class Tiff(NamedTuple):
    """The first directory of a file."""

    data: bytes
    order: str
    is_big: bool
    tags: Tags
    is_first: bool = True

    def one(self, tag: int, default: int) -> int:
        values = self.tags.get(tag, ())
        return int(values[0]) if len(values) else default

    @property
    def has_size(self) -> bool:
        return WIDTH in self.tags and HEIGHT in self.tags

    @property
    def is_thumbnail(self) -> bool:
        return bool(self.one(SUBFILE, 0) & REDUCED)

    @property
    def photometric(self) -> int:
        return self.one(PHOTOMETRIC, WHITE_IS_ZERO)

    @property
    def compression(self) -> int:
        return self.one(COMPRESSION, RAW)

    @property
    def bits(self) -> int:
        return self.one(BITS, 1)

    @property
    def samples(self) -> int:
        return self.one(SAMPLES, 1)

    @property
    def is_planar(self) -> bool:
        return self.one(PLANAR, 1) == 2 and self.samples > 1

    @property
    def said(self) -> str:
        kind = SAMPLE.get(self.one(FORMAT, 1), "unknown")
        name = NAMES.get(self.photometric, f"photometric {self.photometric}")
        return f"{name} of {self.samples} x {self.bits} bits, {kind}"


def is_tiff(data: bytes) -> bool:
    return data.startswith(BEGINNINGS)


def directory(data: bytes) -> Tiff:
    """The first directory of a TIFF or BigTIFF, in either order of bytes, whose picture is no smaller copy of another."""
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    (at,) = _unpack(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    first, after = _directory(data, order, is_big, at)
    found = first
    for _ in range(PAGES):
        if not found.is_thumbnail or not after or SUBDIRECTORIES in first.tags:
            break
        found, after = _directory(data, order, is_big, after)
    return first if found.is_thumbnail else found._replace(is_first=found is first)


def _directory(data: bytes, order: str, is_big: bool, at: int) -> tuple[Tiff, int]:
    """The whole numbers of the tags that matter, and where the next directory is."""
    word, count, entry = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (n,) = _unpack(order + count, data, at)
    at += struct.calcsize(order + count)
    end = at + n * entry
    if end > len(data):
        raise Rejected("truncated", "its directory is cut")
    found = dict[int, Sequence[int]]()
    for start in range(at, end, entry):
        (tag,) = struct.unpack_from(order + "H", data, start)
        if tag in NEEDED and tag not in found:
            found[tag] = _values(data, order, word, start)
    after = _unpack(order + word, data, end)[0] if end + struct.calcsize(order + word) <= len(data) else 0
    return Tiff(data, order, is_big, found), after


def _values(data: bytes, order: str, word: str, start: int) -> Sequence[int]:
    """The whole numbers of one tag; none where they are of another kind or lie beyond the end."""
    kind, n = struct.unpack_from(f"{order}H{word}", data, start + 2)
    if kind not in KINDS:
        return ()
    dtype, place = np.dtype(order + KINDS[kind]), start + 4 + struct.calcsize(word)
    n = min(n, MANY)
    if n * dtype.itemsize > struct.calcsize(word):
        (place,) = struct.unpack_from(order + word, data, place)
    if place + n * dtype.itemsize > len(data):
        return ()
    values: list[int] = np.frombuffer(data, dtype, n, place).tolist()
    return values


def _unpack(form: str, data: bytes, at: int) -> tuple[int, ...]:
    if at + struct.calcsize(form) > len(data):
        raise Rejected("truncated", "its directory is missing")
    return struct.unpack_from(form, data, at)


def check(tiff: Tiff) -> None:
    """Rejected, unless what the directory says can be read, and its bytes are there."""
    if _forms_a_ring(tiff):
        raise Rejected("corrupt", "its directories lead back to one another")
    if not tiff.has_size:
        raise Rejected("corrupt", "its directory says nothing of a size")
    if _is_camera_raw(tiff):
        raise Rejected("format_not_allowed", CAMERA_RAW)
    if tiff.compression not in COMPRESSIONS:
        raise Rejected("unsupported_mode", f"TIFF compression {tiff.compression}")
    if not _is_read(tiff):
        raise Rejected("unsupported_mode", tiff.said)
    _check_parts(tiff)


def _forms_a_ring(tiff: Tiff) -> bool:
    """Whether the directories, each of which says where the next is, never end."""
    word, count, entry = ("Q", "Q", 20) if tiff.is_big else ("I", "H", 12)
    size, begin, seen = struct.calcsize(tiff.order + word), struct.calcsize(tiff.order + count), set[int]()
    at = struct.unpack_from(tiff.order + word, tiff.data, 8 if tiff.is_big else 4)[0]
    while at and at not in seen and at + begin <= len(tiff.data):
        seen.add(at)
        after = at + begin + entry * struct.unpack_from(tiff.order + count, tiff.data, at)[0]
        at = struct.unpack_from(tiff.order + word, tiff.data, after)[0] if after + size <= len(tiff.data) else 0
    return at in seen


def _is_camera_raw(tiff: Tiff) -> bool:
    """DNG, CR2, NEF, ARW and their like: what lies in front is a small preview."""
    preview = tiff.is_thumbnail and SUBDIRECTORIES in tiff.tags
    return bool(preview or DNG in tiff.tags or FILTERS in tiff.tags or tiff.data[8:10] == b"CR")


def _is_read(tiff: Tiff) -> bool:
    """Whether its colors are among those whose reading is tested (tests/test_formats.py)."""
    colors, depths = READ.get(tiff.photometric, (0, ()))
    plain = {*tiff.tags.get(BITS, (1,))} == {tiff.bits} and {*tiff.tags.get(FORMAT, (1,))} <= {*WHOLE}
    fits = tiff.bits in depths and 0 < colors <= tiff.samples
    arranged = _has_plain_planes(tiff) if tiff.is_planar else tiff.samples <= MOST_SAMPLES
    return plain and fits and arranged and _has_plain_colors(tiff)


def _has_plain_colors(tiff: Tiff) -> bool:
    """Whether its inks are those of CMYK, and YCbCr has all of its colors, or is a JPEG, which says itself; of an old one, whole."""
    if tiff.compression == OLD_JPEG and WHOLE_JPEG not in tiff.tags:
        return False
    if tiff.photometric == YCBCR and tiff.compression not in JPEGS:
        return tuple(tiff.tags.get(SUBSAMPLING, (2, 2))) == (1, 1)
    return tiff.photometric != CMYK or tiff.one(INKS, 1) == 1


def _has_plain_planes(tiff: Tiff) -> bool:
    """Whether its planes, each by itself, are pictures in gray."""
    colors = tiff.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK)
    return colors and tiff.bits in (8, 16) and tiff.compression not in JPEGS


def _check_parts(tiff: Tiff) -> None:
    """That all strips or tiles, of all planes, are listed and lie within the file, with enough bytes where none are saved."""
    starts, counts = parts(tiff)
    n = how_many(tiff)
    if len(starts) < n or (counts and len(counts) < n):
        raise Rejected("truncated", "it has fewer rows than it says")
    least = least_bytes(tiff, n)
    sizes = np.array(counts[:n], np.uint64) if counts else least
    if (np.array(starts[:n], np.uint64) + sizes > len(tiff.data)).any():
        raise Rejected("truncated", "its data ends before the picture does")
    if tiff.compression == RAW and (sizes < least).any():
        raise Rejected("truncated", "it has fewer bytes than its rows need")
    if tiff.compression in JPEGS and not all(_ends_as_jpeg(tiff.data, sum(part)) for part in zip(starts, counts)):
        raise Rejected("truncated", "a JPEG in it has no end")


def _ends_as_jpeg(data: bytes, end: int) -> bool:
    return data.rfind(JPEG_END, max(0, end - PADDING), end) >= 0


def parts(tiff: Tiff) -> tuple[Sequence[int], Sequence[int]]:
    """Where the strips or tiles begin, and how long they are, if that is said."""
    tags = (TILES, TILE_BYTES) if TILES in tiff.tags else (STRIPS, STRIP_BYTES)
    starts, counts = (tiff.tags.get(tag, ()) for tag in tags)
    return starts, counts if any(counts) else ()


def how_many(tiff: Tiff) -> int:
    """The strips or tiles that the picture has, of all planes."""
    across, down = _size_of_part(tiff)
    of_plane = -(-tiff.one(WIDTH, 0) // across) * -(-tiff.one(HEIGHT, 0) // down)
    return of_plane * (tiff.samples if tiff.is_planar else 1)


def _size_of_part(tiff: Tiff) -> tuple[int, int]:
    """The width and height of a strip or tile."""
    width, height = max(tiff.one(WIDTH, 0), 1), max(tiff.one(HEIGHT, 0), 1)
    if TILES in tiff.tags:
        return max(tiff.one(TILE_WIDTH, 1), 1), max(tiff.one(TILE_HEIGHT, 1), 1)
    return width, min(max(tiff.one(ROWS_PER_STRIP, height), 1), height)


def least_bytes(tiff: Tiff, n: int) -> UInt64[np.ndarray, "n"]:
    """The bytes that each of n strips or tiles has before it is compressed."""
    across, down = _size_of_part(tiff)
    in_row = -(-across * tiff.bits * (1 if tiff.is_planar else tiff.samples) // 8)
    least = np.full(n, in_row * down, np.uint64)
    in_last = tiff.one(HEIGHT, 0) % down
    if in_last and TILES not in tiff.tags:
        of_plane = n // (tiff.samples if tiff.is_planar else 1)
        least[of_plane - 1 :: of_plane] = in_row * in_last
    return least
