"""What the files of pictures say of themselves, read without a decoder."""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

PNG = b"\x89PNG\r\n\x1a\n"
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
# Known by their beginnings, so that it can be said what they are; nothing of them is parsed.
FOREIGN = {
    b"%!PS": "EPS", b"\xc5\xd0\xd3\xc6": "EPS", b"%PDF": "PDF", b"8BPS": "PSD", b"SIMPLE  =": "FITS", b"\0\0\1\0": "ICO",
    b"P5\n": "PGM", b"P6\n": "PPM", b"\0\0\0\x0cjP  ": "JPEG 2000", b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL",
}  # fmt: skip
BOXED = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis"}
SVG = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]{0,200}>\s*)?(<!(--|DOCTYPE svg)[^>]{0,500}>\s*){0,4}<svg[\s>]", re.IGNORECASE
)


def jpeg_end(data: bytes) -> int:
    """Where the end marker ends: of the picture, not of a thumbnail in a segment (those are skipped). 0 if there is none."""
    at = 2
    while marker := JPEG_MARKER.search(data, at):
        if data[marker.end() - 1] == 0xD9:
            return marker.end()
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return 0


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


def forms_a_ring(data: bytes) -> bool:
    """Whether a TIFF's directories, each of which says where the next is, never end."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    at, seen = int.from_bytes(data[4:8], order), set[int]()
    while at and at not in seen:
        seen.add(at)
        after = at + 2 + 12 * int.from_bytes(data[at : at + 2], order)
        at = int.from_bytes(data[after : after + 4], order)
    return at in seen


def tiff_parts_are_missing(tags: Mapping[int, Any]) -> bool:
    """Whether a TIFF's directory lists fewer strips or tiles, of all planes, than its picture has."""
    width, height = tags[256], tags[257]
    planes = tags.get(277, 1) if tags.get(284, 1) == 2 else 1
    if 324 in tags:
        return bool(len(tags[324]) < planes * -(-height // tags[323]) * -(-width // tags[322]))
    return bool(len(tags.get(273, ())) < planes * -(-height // min(tags.get(278, height), height)))


def foreign(data: bytes) -> str:
    """The name of a format that holds pictures and is not read here."""
    if data[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF"}.get(data[8:12], "HEIC") if data[8:12] in BOXED else ""
    if SVG.match(data):
        return "SVG"
    return next((name for begin, name in FOREIGN.items() if data.startswith(begin)), "")
