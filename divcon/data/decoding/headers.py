"""What the files of pictures say of themselves, read without a decoder."""

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
]  # x, y, steps
AT_ONCE = 2**20  # bytes that are inflated at a time
ENOUGH = 64  # pixels: a size that passes, of a file too short to tell
# A marker of a JPEG: 0xFF stuffed with a zero, fill bytes and restarts are part of the picture's own data.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
SIZE_BOX = re.compile(rb"ispe\0\0\0\0")
LS = 0xF7  # the marker of the frame of a JPEG-LS
# How a JPEG codes its picture, by the last digit of the marker of its frame.
CODED = {
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
    """How the picture in a JPEG is coded."""

    marker: int
    bits: int
    layers: int

    @property
    def is_common(self) -> bool:
        return self.marker in COMMON and self.bits == 8 and self.layers in (1, 3, 4)

    @property
    def said(self) -> str:
        return f"a JPEG that is {CODED.get(self.marker, 'hierarchical')}, of {self.layers} x {self.bits} bits"


def jpeg_end(data: bytes) -> int:
    """Where the end marker ends: of the picture, not of a thumbnail in a segment (those are skipped). 0 if there is none."""
    at = 2
    while marker := JPEG_MARKER.search(data, at):
        if data[marker.end() - 1] == 0xD9:
            return marker.end()
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return 0


def jpeg_frame(data: bytes) -> Frame | None:
    """The frame that the header of a JPEG declares; None of one that has none before its picture."""
    at = 2
    while marker := JPEG_MARKER.search(data, at):
        kind, body = data[marker.end() - 1], data[marker.end() : marker.end() + 8]
        if kind in (0xD9, 0xDA) or len(body) < 8:
            return None
        if kind == LS or (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)):
            return Frame(kind, body[2], body[7])
        at = marker.end() + int.from_bytes(body[:2], "big")
    return None


def png_rows_are_missing(data: bytes) -> bool:
    """Whether the pixels of a PNG, one that decodes, end before its last row."""
    missing, inflate = _png_bytes(data), zlib.decompressobj()
    for kind, body in _chunks(data):
        while kind == b"IDAT" and missing > 0 and body:
            missing -= len(inflate.decompress(body, AT_ONCE))
            body = inflate.unconsumed_tail
    return missing > 0


def _png_bytes(data: bytes) -> int:
    """How many bytes its pixels have before they are deflated: a byte before each row, of each pass."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    columns_and_rows = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    bits = depth * PNG_CHANNELS[kind]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in columns_and_rows if columns > 0 and rows > 0)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def webp_size(data: bytes) -> tuple[int, int]:
    """The canvas that the header of a WebP declares; of one that is too short, some size that passes."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return ENOUGH, ENOUGH
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


def is_boxed(data: bytes) -> bool:
    """Whether it is in boxes, as AVIF, HEIC and films are."""
    return data[4:8] == b"ftyp"


def boxed_size(data: bytes) -> tuple[int, int]:
    """The largest of the sizes that an AVIF or HEIC declares; some size that passes where it declares none."""
    places = (match.end() for match in SIZE_BOX.finditer(data, 0, AT_ONCE) if match.end() + 8 <= len(data))
    sizes = [struct.unpack_from(">II", data, at) for at in places]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(ENOUGH, ENOUGH))
    return width, height


def boxes_are_cut(data: bytes) -> bool:
    """Whether the last of the boxes would end behind the end of the file."""
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:  # in 8 bytes, behind its name
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:  # 0: up to the end; else what is no box
            return False
        at += length
    return at > len(data)
