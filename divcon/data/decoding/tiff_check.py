"""Rejection of a TIFF whose directory asks for what can't be read, or for bytes that the file does not have.

Pillow ignores many tags and believes the others. An arrangement that is not listed here is `unsupported_mode`.
"""

import struct

import numpy as np

from .rejection import Rejected
from .tiff_directory import TiffDirectory
from .tiff_tags import CMYK, COMPRESSIONS, JPEGS, OLD_JPEG, PALETTE, RAW, READ, UNSIGNED, UNTYPED, YCBCR, Tag

MOST_SAMPLES = 6  # that Pillow reads where they lie side by side
CAMERA_RAW = "camera RAW; its preview is not the photograph: develop it to TIFF or JPEG"
JPEG_END, PADDING = b"\xff\xd9", 16  # bytes that may follow the end


def check(directory: TiffDirectory) -> None:
    """Raise Rejected unless the image can be read and all its bytes are there."""
    if _directories_form_a_loop(directory):
        raise Rejected("corrupt", "its directories form a loop")
    if not directory.has_size:
        raise Rejected("corrupt", "its directory has no size")
    if _is_camera_raw(directory):
        raise Rejected("format_not_allowed", CAMERA_RAW)
    if directory.compression not in COMPRESSIONS:
        raise Rejected("unsupported_mode", f"TIFF compression {directory.compression}")
    if not _is_read(directory):
        raise Rejected("unsupported_mode", directory.description)
    _check_parts(directory)


def _directories_form_a_loop(directory: TiffDirectory) -> bool:
    """Return True if the chain of directories, each with the offset of the next, never ends."""
    data, layout, visited = directory.data, directory.layout, set[int]()
    of_offset, of_count = struct.calcsize(layout.offset_format), struct.calcsize(layout.count_format)
    (offset,) = struct.unpack_from(layout.offset_format, data, layout.first)
    while offset and offset not in visited and offset + of_count <= len(data):
        visited.add(offset)
        (count,) = struct.unpack_from(layout.count_format, data, offset)
        end = offset + of_count + layout.entry * count
        offset = struct.unpack_from(layout.offset_format, data, end)[0] if end + of_offset <= len(data) else 0
    return offset in visited


def _is_camera_raw(directory: TiffDirectory) -> bool:
    """Return True for DNG, CR2, NEF and ARW: their first image is a small preview."""
    preview = directory.is_thumbnail and Tag.SUBDIRECTORIES in directory.tags
    marked = Tag.DNG in directory.tags or Tag.FILTERS in directory.tags
    return preview or marked or directory.data[8:10] == b"CR"


def _is_read(directory: TiffDirectory) -> bool:
    """Return True if the arrangement of samples is one that tests/test_formats.py tests."""
    colors, depths = READ.get(directory.photometric, (0, ()))
    same_bits = {*directory.tags.get(Tag.BITS, (1,))} == {directory.bits}
    whole = {*directory.tags.get(Tag.FORMAT, (UNSIGNED,))} <= {UNSIGNED, UNTYPED}
    fits = directory.bits in depths and 0 < colors <= directory.samples
    arranged = _planes_are_read(directory) if directory.is_planar else directory.samples <= MOST_SAMPLES
    return same_bits and whole and fits and arranged and _colors_are_read(directory)


def _colors_are_read(directory: TiffDirectory) -> bool:
    """Return False for inks other than CMYK, subsampled YCbCr without JPEG, and an old JPEG in parts."""
    if directory.compression == OLD_JPEG and Tag.WHOLE_JPEG not in directory.tags:
        return False
    if directory.photometric == YCBCR and directory.compression not in JPEGS:
        return tuple(directory.tags.get(Tag.SUBSAMPLING, (2, 2))) == (1, 1)
    return directory.photometric != CMYK or directory.value(Tag.INKS, 1) == 1


def _planes_are_read(directory: TiffDirectory) -> bool:
    """Return True if each plane alone is a gray image that Pillow reads."""
    direct = directory.photometric not in (PALETTE, YCBCR)
    return direct and directory.bits in (8, 16) and directory.compression not in JPEGS


def _check_parts(directory: TiffDirectory) -> None:
    """Raise Rejected unless all strips or tiles are listed, lie within the file, and are long enough."""
    offsets, sizes = directory.parts()
    count = directory.count_parts()
    if len(offsets) < count or (sizes and len(sizes) < count):
        raise Rejected("truncated", "it has fewer rows than it says")
    least = directory.uncompressed_sizes()
    listed = np.array(sizes[:count], np.uint64) if sizes else least
    if (np.array(offsets[:count], np.uint64) + listed > len(directory.data)).any():
        raise Rejected("truncated", "its data ends before the image does")
    if directory.compression == RAW and (listed < least).any():
        raise Rejected("truncated", "it has fewer bytes than its rows need")
    if directory.compression in JPEGS and not all(_has_jpeg_end(directory.data, sum(p)) for p in zip(offsets, sizes)):
        raise Rejected("truncated", "a JPEG in it has no end")


def _has_jpeg_end(data: bytes, end: int) -> bool:
    return data.rfind(JPEG_END, max(0, end - PADDING), end) >= 0
