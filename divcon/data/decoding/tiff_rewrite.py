"""A TIFF with another directory in front of the same bytes, for a decoder that would read the old one wrong."""

import struct
from collections.abc import Sequence

import numpy as np

from .tiff_directory import Tags, TiffDirectory
from .tiff_tags import BLACK_IS_ZERO, WHOLE_NUMBERS, Tag


def one_plane(directory: TiffDirectory, number: int) -> bytes:
    """Return a file of one plane alone, as gray with black at 0."""
    offsets, sizes = directory.parts()
    count = directory.count_parts()
    which = slice(number * count // directory.samples, (number + 1) * count // directory.samples)
    of_offsets, of_sizes = directory.part_tags
    own: dict[int, Sequence[int]] = {
        of_offsets: offsets[which],
        of_sizes: (sizes or directory.uncompressed_sizes().tolist())[which],
    }
    own |= {Tag.BITS: [directory.bits], Tag.SAMPLES: [1], Tag.PHOTOMETRIC: [BLACK_IS_ZERO], Tag.PLANAR: [1]}
    return rewrite(directory, own, without=(Tag.EXTRA, Tag.FORMAT, Tag.COLORS, Tag.INKS))


def with_more_data(directory: TiffDirectory, more: bytes) -> bytes:
    """Return the file with `more` behind each strip or tile; a decoder never reads it behind a complete one."""
    longer = [directory.data[offset : offset + size] + more for offset, size in zip(*directory.parts())]
    sizes = [len(part) for part in longer]
    offsets = np.cumsum([len(directory.data), *sizes[:-1]]).tolist()
    of_offsets, of_sizes = directory.part_tags
    extended = directory._replace(data=b"".join([directory.data, *longer]))
    return rewrite(extended, {of_offsets: offsets, of_sizes: sizes})


def rewrite(directory: TiffDirectory, changes: Tags, without: Sequence[int] = ()) -> bytes:
    """Return the file, no BigTIFF, with a new directory in which some tags are changed or left out."""
    data, order = directory.data, directory.layout.order
    tags = {**directory.tags, **changes}
    tags = {tag: values for tag, values in sorted(tags.items()) if tag not in without and len(values)}
    start = len(data) + len(data) % 2
    entries, behind, end = b"", b"", start + 2 + 12 * len(tags) + 4
    for tag, values in tags.items():
        kind = 7 if tag == Tag.JPEG_TABLES else 3 if max(values) < 2**16 else 4
        packed = np.array(values, order + WHOLE_NUMBERS[kind]).tobytes()
        if len(packed) > 4:
            packed, behind = struct.pack(order + "I", end + len(behind)), behind + packed + bytes(len(packed) % 2)
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", start)
    count = struct.pack(order + "H", len(tags))
    return b"".join([head, data[8:], bytes(len(data) % 2), count, entries, bytes(4), behind])
