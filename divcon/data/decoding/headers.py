"""Facts in the headers of image files, read without a decoder."""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]  # first column and row of each pass, and their steps
CHUNK = 2**20  # bytes that are inflated or searched at once
PASSING = 64  # pixels: a size that passes all checks, for a file that is too short to have one
# A marker of a JPEG. 0xFF before a zero, fill bytes and restart markers belong to the compressed data.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
SIZE_BOX = re.compile(rb"ispe\0\0\0\0")
LS = 0xF7  # the marker of the frame of a JPEG-LS
# The coding of a JPEG, by the marker of its frame.
CODINGS = {
    0xC0: "baseline",
    0xC1: "extended",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC9: "arithmetic",
    0xCA: "progressive arithmetic",
    0xCB: "lossless arithmetic",
    LS: "coded as JPEG-LS",
}
COMMON = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA}


class Frame(NamedTuple):
    """The coding of a JPEG: the marker of its frame, the bits of a sample, the number of components."""

    marker: int
    bits: int
    components: int

    @property
    def is_common(self) -> bool:
        return self.marker in COMMON and self.bits == 8 and self.components in (1, 3, 4)

    @property
    def description(self) -> str:
        return f"a JPEG that is {CODINGS.get(self.marker, 'hierarchical')}, of {self.components} x {self.bits} bits"


def jpeg_end(data: bytes) -> int:
    """Return the position behind the end marker; 0 if there is none. Thumbnails in segments are skipped."""
    offset = 2
    while marker := JPEG_MARKER.search(data, offset):
        if data[marker.end() - 1] == 0xD9:
            return marker.end()
        offset = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return 0


def jpeg_frame(data: bytes) -> Frame | None:
    """Return the frame that the header of a JPEG declares; None if no frame comes before the compressed data."""
    offset = 2
    while marker := JPEG_MARKER.search(data, offset):
        kind, body = data[marker.end() - 1], data[marker.end() : marker.end() + 8]
        if kind in (0xD9, 0xDA) or len(body) < 8:
            return None
        if kind == LS or (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)):
            return Frame(kind, body[2], body[7])
        offset = marker.end() + int.from_bytes(body[:2], "big")
    return None


def png_rows_are_missing(data: bytes) -> bool:
    """Return True if the data of a PNG that can be decoded ends before its last row."""
    missing, inflate = _png_bytes(data), zlib.decompressobj()
    for kind, body in _chunks(data):
        while kind == b"IDAT" and missing > 0 and body:
            missing -= len(inflate.decompress(body, CHUNK))
            body = inflate.unconsumed_tail
    return missing > 0


def _png_bytes(data: bytes) -> int:
    """Return the size of the pixels before compression: each row of each pass has one byte more."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    columns_and_rows = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    bits = depth * PNG_CHANNELS[kind]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in columns_and_rows if columns > 0 and rows > 0)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = len(PNG)
    while offset + 8 <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        yield data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]
        offset += 12 + length


def webp_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the canvas in the header of a WebP; a size that passes where the file is too short."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return PASSING, PASSING
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


def is_isobmff(data: bytes) -> bool:
    """Return True for an ISO media file, a file of boxes: AVIF, HEIC and films."""
    return data[4:8] == b"ftyp"


def isobmff_size(data: bytes) -> tuple[int, int]:
    """Return the largest (width, height) that an AVIF or HEIC declares; a size that passes where it declares none."""
    starts = (match.end() for match in SIZE_BOX.finditer(data, 0, CHUNK) if match.end() + 8 <= len(data))
    sizes = [struct.unpack_from(">II", data, offset) for offset in starts]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(PASSING, PASSING))
    return width, height


def isobmff_is_cut(data: bytes) -> bool:
    """Return True if the last box would end behind the end of the file."""
    offset = 0
    while offset + 8 <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        if length == 1:  # the length follows the name, in 8 bytes
            length = int.from_bytes(data[offset + 8 : offset + 16], "big")
        if length < 8:  # 0 means up to the end; 2 to 7 are no box
            return False
        offset += length
    return offset > len(data)
