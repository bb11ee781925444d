"""Files in all the arrangements of pixels that docs/formats.md lists, made by hand where no library writes them."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
PICTURES = Path(__file__).parent / "pictures"
H, W = 48, 64
Y, X = np.mgrid[:H, :W]
COLOR: Pixels = (
    np.stack([4 * X, 5 * Y, np.where((X // 8 + Y // 8) % 2, 40, 200)], axis=-1).clip(0, 255).astype(np.uint8)
)
GRAY: Pixels = COLOR[:, :, 0] // 2 + COLOR[:, :, 1] // 2
BITS: Pixels = (GRAY > 100).astype(np.uint8)
DISC: Pixels = np.where((X - 32) ** 2 + (Y - 24) ** 2 < 400, 255, 0).astype(np.uint8)  # alpha: a disc
SOFT: Pixels = (255 - 3 * X).astype(np.uint8)  # alpha: less and less
PALETTE: Pixels = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) // 2], axis=1).astype(np.uint8)


def gray(picture: Pixels) -> Pixels:
    return np.repeat(picture[:, :, None], 3, axis=2)


def on(ground: int, picture: Pixels, alpha: Pixels) -> Pixels:
    """A picture with transparency, composited on a background."""
    share = alpha[:, :, None] / 255
    return np.round(picture * share + ground * (1 - share)).astype(np.uint8)


def levels(picture: Pixels, bits: int) -> Pixels:
    """In so many bits, as values of 8: each level by its share of white."""
    white = 2**bits - 1
    return np.round((picture >> (8 - bits)) * (255 / white)).astype(np.uint8)


def deep(picture: Pixels, white: int = 65535) -> NDArray[np.uint16]:
    return np.round(picture.astype(float) * white / 255).astype(np.uint16)


def saved(kind: str, image: Image.Image | Pixels, **options: Any) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def packed(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Rows of samples of 1, 2, 4, 8 or 16 bits, the first in the highest bits."""
    flat = values.reshape(len(values), -1)
    if bits == 16:
        return np.ascontiguousarray(flat.astype(">u2")).view(np.uint8)
    single = np.unpackbits(flat.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
    return np.packbits(single.reshape(len(flat), -1), axis=1)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: NDArray[Any], bits: int, kind: int, *between: bytes) -> bytes:
    """A PNG of these samples, its rows not filtered."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in packed(values, bits))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def interlaced(values: Pixels, kind: int) -> bytes:
    """Its seven passes, each of fewer columns and rows."""
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    passes = [values[y::dy, x::dx] for x, y, dx, dy in steps]
    rows = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], len(values), 8, kind, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette_chunk() -> bytes:
    return chunk(b"PLTE", PALETTE.tobytes())


def tiff(values: NDArray[Any], photometric: str = "minisblack", **options: Any) -> bytes:
    """By tifffile; `planes` lays the colors out one behind the other."""
    file = io.BytesIO()
    order, big = options.pop("order", "<"), options.pop("big", False)
    if options.pop("planes", False):
        values, options["planarconfig"] = np.ascontiguousarray(values.transpose(2, 0, 1)), "separate"
    with tifffile.TiffWriter(file, byteorder=order, bigtiff=big) as writer:
        writer.write(values, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def tags(entries: dict[int, Sequence[int]], strips: Sequence[bytes], order: str = "<") -> bytes:
    """A TIFF of exactly these tags: of 16 bits each where they fit, and where the strips lie."""
    at, starts = 8, []
    for strip in strips:
        starts.append(at)
        at += len(strip)
    entries = dict(sorted({**entries, 273: starts, 279: [len(strip) for strip in strips]}.items()))
    rows, behind, end = b"", b"", at + 2 + 12 * len(entries) + 4
    for tag, values in entries.items():
        kind, letter = (4, "I") if tag in (273, 279) or max(values) > 65535 else (3, "H")
        raw = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(raw) > 4:
            raw, behind = struct.pack(order + "I", end + len(behind)), behind + raw
        rows += struct.pack(order + "HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", at)
    return head + b"".join(strips) + struct.pack(order + "H", len(entries)) + rows + bytes(4) + behind


def plain(bits: int, photometric: int, rows: bytes, **more: Sequence[int]) -> bytes:
    """A TIFF in one strip, of one sample a pixel; `more` tags are named t and their number."""
    own = {256: [W], 257: [H], 258: [bits], 259: [1], 262: [photometric], 277: [1], 278: [H]}
    return tags({**own, **{int(name[1:]): values for name, values in more.items()}}, [rows])


def bmp(bits: int, rows: bytes, *, compression: int = 0, height: int = H, header: int = 40, masks: Sequence[int] = (),
        colors: Pixels | None = None, used: int = 0) -> bytes:  # fmt: skip
    """A BMP; its rows, from below, are given as they lie in the file."""
    table = b"" if colors is None else np.pad(colors[:, ::-1], [(0, 0), (0, 1)]).astype(np.uint8).tobytes()
    if header == 12:
        info, table = (
            struct.pack("<IHHHH", 12, W, height, 1, bits),
            b"" if colors is None else colors[:, ::-1].tobytes(),
        )
    else:
        info = struct.pack("<IiiHHIIiiII", header, W, height, 1, bits, compression, len(rows), 2835, 2835, used, 0)
        info += struct.pack(f"<{len(masks)}I", *masks) + bytes(max(0, header - 40 - 4 * len(masks)))
    start = 14 + len(info) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + table + rows


def upward(rows: NDArray[Any]) -> bytes:
    """Rows of bytes from below, each filled up to a multiple of four."""
    flat = np.ascontiguousarray(rows[::-1]).reshape(len(rows), -1).view(np.uint8)
    return np.pad(flat, [(0, 0), (0, -flat.shape[1] % 4)]).tobytes()


def run_lengths(rows: Pixels) -> bytes:
    """RLE8: each row as runs, from below, with an end of line behind it."""
    out = bytearray()
    for row in rows[::-1]:
        for start in range(0, len(row), 8):
            part = row[start : start + 8]
            out += bytes([8, part[0]]) if (part == part[0]).all() else bytes([0, 8]) + part.tobytes()
        out += b"\0\0"
    return bytes(out) + b"\0\1"


def run_lengths_of_4(rows: Pixels) -> bytes:
    """RLE4: the same, of two pixels a byte."""
    out = bytearray()
    for row in rows[::-1]:
        for start in range(0, len(row), 8):
            part = row[start : start + 8]
            same = (part == part[0]).all()
            out += bytes([8, part[0] * 17]) if same else bytes([0, 8]) + packed(part[None], 4).tobytes()
        out += b"\0\0"
    return bytes(out) + b"\0\1"


def on_larger_canvas(gif: bytes) -> bytes:
    """A GIF of which the first frame lies 10 to the right and 12 down on a canvas of 90 x 70."""
    data = bytearray(gif)
    frame = data.index(b"\x2c", 13 + 3 * 256)
    struct.pack_into("<HH", data, 6, 90, 70)
    struct.pack_into("<HH", data, frame + 1, 10, 12)
    return bytes(data)


def two_pages(first: bytes, second: dict[int, Sequence[int]], strip: bytes) -> bytes:
    """A TIFF with another directory behind its own; `second` has two tags or more, of 16 bits, and one strip."""
    data = bytearray(first)
    at = int.from_bytes(data[4:8], "little")
    link = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    start = len(data) + len(data) % 2
    data += bytes(len(data) % 2) + strip + bytes(len(strip) % 2)
    struct.pack_into("<I", data, link, len(data))
    entries = dict(sorted({**second, 273: [start], 279: [len(strip)]}.items()))
    rows, behind, end = b"", b"", len(data) + 2 + 12 * len(entries) + 4
    for tag, values in entries.items():
        raw = struct.pack(f"<{len(values)}I", *values)
        if len(raw) > 4:
            raw, behind = struct.pack("<I", end + len(behind)), behind + raw
        rows += struct.pack("<HHI", tag, 4, len(values)) + raw
    return bytes(data) + struct.pack("<H", len(entries)) + rows + bytes(4) + behind


def jpeg(picture: NDArray[Any], **options: Any) -> bytes:
    data: bytes = imagecodecs.jpeg8_encode(picture, 95, **options)
    return data


def read(name: str) -> bytes:
    return (PICTURES / name).read_bytes()
