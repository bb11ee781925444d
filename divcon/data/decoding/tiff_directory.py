"""The first directory of a TIFF or BigTIFF: the tags that are read, and the places of its strips or tiles."""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt64

from .rejection import Rejected
from .tiff_tags import NAMES, RAW, REDUCED, SAMPLE_NAMES, TAGS, UNSIGNED, WHITE_IS_ZERO, WHOLE_NUMBERS, Tag

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_VALUES = 2**21  # of one tag: no image that is allowed has so many strips or tiles
PAGES = 16  # directories that are read until one is no thumbnail

Tags = Mapping[int, Sequence[int]]


class Layout(NamedTuple):
    """The byte order of a file ("<" or ">") and the widths of its numbers, which are larger in a BigTIFF.

    `offset_format` and `count_format` are the struct formats of an offset in the file and of the number of entries in a directory;
    `entry` is the bytes of an entry; `first` is the place of the offset of the first directory."""

    order: str
    offset_format: str
    count_format: str
    entry: int
    first: int

    @property
    def is_big(self) -> bool:
        return self.offset_format == self.count_format


class TiffDirectory(NamedTuple):
    """One directory of a file, with its tags. `is_first` is False if thumbnails come before it."""

    data: bytes
    layout: Layout
    tags: Tags
    is_first: bool = True

    def value(self, tag: Tag, default: int) -> int:
        """Return the first value of a tag."""
        values = self.tags.get(tag, ())
        return int(values[0]) if len(values) else default

    @property
    def has_size(self) -> bool:
        return Tag.WIDTH in self.tags and Tag.HEIGHT in self.tags

    @property
    def is_thumbnail(self) -> bool:
        return bool(self.value(Tag.SUBFILE, 0) & REDUCED)

    @property
    def photometric(self) -> int:
        return self.value(Tag.PHOTOMETRIC, WHITE_IS_ZERO)

    @property
    def compression(self) -> int:
        return self.value(Tag.COMPRESSION, RAW)

    @property
    def bits(self) -> int:
        return self.value(Tag.BITS, 1)

    @property
    def samples(self) -> int:
        return self.value(Tag.SAMPLES, 1)

    @property
    def is_planar(self) -> bool:
        return self.value(Tag.PLANAR, 1) == 2 and self.samples > 1

    @property
    def description(self) -> str:
        kind = SAMPLE_NAMES.get(self.value(Tag.FORMAT, UNSIGNED), "unknown")
        name = NAMES.get(self.photometric, f"photometric {self.photometric}")
        return f"{name} of {self.samples} x {self.bits} bits, {kind}"

    @property
    def part_tags(self) -> tuple[Tag, Tag]:
        """The tags with the offsets and the sizes of its strips or tiles."""
        return (Tag.TILES, Tag.TILE_BYTES) if Tag.TILES in self.tags else (Tag.STRIPS, Tag.STRIP_BYTES)

    def parts(self) -> tuple[Sequence[int], Sequence[int]]:
        """Return the offsets of its strips or tiles, and their sizes in bytes (empty where the file has none)."""
        offsets, sizes = (self.tags.get(tag, ()) for tag in self.part_tags)
        return offsets, sizes if any(sizes) else ()

    def count_parts(self) -> int:
        """Return the number of strips or tiles that the whole image needs, in all planes."""
        width, height = self._part_size()
        of_plane = -(-self.value(Tag.WIDTH, 0) // width) * -(-self.value(Tag.HEIGHT, 0) // height)
        return of_plane * (self.samples if self.is_planar else 1)

    def _part_size(self) -> tuple[int, int]:
        """Return the width and height of a strip or tile."""
        width, height = max(self.value(Tag.WIDTH, 0), 1), max(self.value(Tag.HEIGHT, 0), 1)
        if Tag.TILES in self.tags:
            return max(self.value(Tag.TILE_WIDTH, 1), 1), max(self.value(Tag.TILE_HEIGHT, 1), 1)
        return width, min(max(self.value(Tag.ROWS_PER_STRIP, height), 1), height)

    def uncompressed_sizes(self) -> UInt64[np.ndarray, "parts"]:
        """Return the bytes of each strip or tile before compression."""
        count = self.count_parts()
        width, height = self._part_size()
        row = -(-width * self.bits * (1 if self.is_planar else self.samples) // 8)
        sizes = np.full(count, row * height, np.uint64)
        rows_in_last = self.value(Tag.HEIGHT, 0) % height
        if rows_in_last and Tag.TILES not in self.tags:
            of_plane = count // (self.samples if self.is_planar else 1)
            sizes[of_plane - 1 :: of_plane] = row * rows_in_last
        return sizes


def is_tiff(data: bytes) -> bool:
    return data.startswith(SIGNATURES)


def read_directory(data: bytes) -> TiffDirectory:
    """Return the first directory that is no thumbnail, or the first one if all are thumbnails."""
    order, is_big = "<" if data.startswith(b"II") else ">", data[2:4] in (b"+\0", b"\0+")
    layout = Layout(order, *((order + "Q", order + "Q", 20, 8) if is_big else (order + "I", order + "H", 12, 4)))
    (offset,) = _unpack(layout.offset_format, data, layout.first)
    first, following = _read_one(data, layout, offset)
    found = first
    for _ in range(PAGES):
        if not found.is_thumbnail or not following or Tag.SUBDIRECTORIES in first.tags:
            break
        found, following = _read_one(data, layout, following)
    return first if found.is_thumbnail else found._replace(is_first=found is first)


def _read_one(data: bytes, layout: Layout, offset: int) -> tuple[TiffDirectory, int]:
    """Return the directory at an offset, and the offset of the next one (0 if there is none)."""
    (count,) = _unpack(layout.count_format, data, offset)
    start = offset + struct.calcsize(layout.count_format)
    end = start + count * layout.entry
    if end > len(data):
        raise Rejected("truncated", "its directory is cut")
    tags = dict[int, Sequence[int]]()
    for entry in range(start, end, layout.entry):
        (tag,) = struct.unpack_from(layout.order + "H", data, entry)
        if tag in TAGS and tag not in tags:
            tags[tag] = _read_values(data, layout, entry)
    has_next = end + struct.calcsize(layout.offset_format) <= len(data)
    return TiffDirectory(data, layout, tags), _unpack(layout.offset_format, data, end)[0] if has_next else 0


def _read_values(data: bytes, layout: Layout, entry: int) -> Sequence[int]:
    """Return the whole numbers of one entry; none if they have another type or lie behind the end."""
    kind, count = struct.unpack_from(f"{layout.order}H{layout.offset_format[1:]}", data, entry + 2)
    if kind not in WHOLE_NUMBERS:
        return ()
    width = struct.calcsize(layout.offset_format)
    dtype, start = np.dtype(layout.order + WHOLE_NUMBERS[kind]), entry + 4 + width
    count = min(count, MOST_VALUES)
    if count * dtype.itemsize > width:
        (start,) = struct.unpack_from(layout.offset_format, data, start)
    if start + count * dtype.itemsize > len(data):
        return ()
    values: list[int] = np.frombuffer(data, dtype, count, start).tolist()
    return values


def _unpack(form: str, data: bytes, offset: int) -> tuple[int, ...]:
    if offset + struct.calcsize(form) > len(data):
        raise Rejected("truncated", "its directory is missing")
    return struct.unpack_from(form, data, offset)
