"""Every format and mode that docs/formats.md lists, against the array that was written, and against another reader."""

import contextlib
import io
import re
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import formats_made as made
import imagecodecs
import numpy as np
import pytest
import tifffile
from formats_made import (
    BITS,
    COLOR,
    DISC,
    GRAY,
    PALETTE,
    SOFT,
    Pixels,
    bmp,
    chunk,
    deep,
    gray,
    jpeg,
    levels,
    on,
    palette_chunk,
    plain,
    png,
    saved,
    tags,
    tiff,
    upward,
)
from PIL import Image

from divcon.data.decoding import formats
from divcon.data.decoding.decode import decode, decode_shrunk, fitted_size
from divcon.data.decoding.rejection import Rejected
from divcon.data.decoding.tiff_directory import read_directory
from divcon.data.decoding.tiff_rewrite import rewrite
from divcon.data.index import validate

DOCS = Path(__file__).parents[1] / "docs/formats.md"
Reader = Callable[[bytes], Pixels]


def opencv(data: bytes) -> Pixels:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(picture)[:, :, ::-1]


def by_tifffile(data: bytes) -> Pixels:
    """Read 8 or 16 bits, with planes first or last; an image that is not RGB is gray."""
    values = tifffile.imread(io.BytesIO(data))
    values = (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
    if values.ndim == 3 and values.shape[0] < 8:
        values = values.transpose(1, 2, 0)
    return gray(values) if values.ndim == 2 else values[:, :, :3]


def by_avif(data: bytes) -> Pixels:
    return np.asarray(imagecodecs.avif_decode(data))[:, :, :3]


def by_webp(data: bytes) -> Pixels:
    return np.asarray(imagecodecs.webp_decode(data))[:, :, :3]


def pillow(data: bytes) -> Pixels:
    """Read formats that divcon reads without Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


SAID = {opencv: "OpenCV", pillow: "Pillow", by_tifffile: "tifffile", by_avif: "imagecodecs", by_webp: "imagecodecs"}


class Row(NamedTuple):
    """A file, the expected pixels, and another reader to compare with. Without pixels it is rejected for `reason`."""

    format: str
    file: str
    becomes: str
    data: bytes
    picture: Pixels | None = None
    within: float = 0  # of 255, on average: what a codec loses
    other: Reader | None = None
    notes: str = ""
    reason: str = ""

    @property
    def line(self) -> str:
        by = "the file alone" if self.picture is None else "the array that was written"
        also = f", {SAID[self.other]}" if self.other else ""
        return f"| {self.format} | {self.file} | {self.becomes} | {by}{also} |"


def used(format: str, file: str, data: bytes, picture: Pixels, within: float = 0, other: Reader | None = None,
         becomes: str = "used", notes: str = "") -> Row:  # fmt: skip
    return Row(format, file, becomes, data, picture, within, other, notes)


def refused(format: str, file: str, data: bytes, reason: str, said: str = "") -> Row:
    return Row(format, file, f"`{reason}`", data, reason=reason, notes=said)


def exif(orientation: int) -> bytes:
    notes = Image.Exif()
    notes[0x0112] = orientation
    return notes.tobytes()


LYING: Pixels = np.ascontiguousarray(COLOR.transpose(1, 0, 2)[::-1])  # as stored by a camera that notes orientation 6
CMYK: Pixels = np.dstack([255 - COLOR, np.zeros(GRAY.shape, np.uint8)])
SIX: Pixels = COLOR >> 2 << 2  # of which 6 bits are kept
OFFSET: Pixels = np.dstack([COLOR, np.where((np.mgrid[:48, :64][1] < 20), 0, 255)]).astype(np.uint8)
WHITE_ON_CLEAR: Pixels = np.dstack([np.full_like(COLOR, 255), DISC])
DARK = deep(GRAY, 4095)
FAINT = np.where(DISC == 255, 300 + GRAY.astype(np.uint16), 100).astype(np.uint16)  # a micrograph: 100..555 of 65,535
FAINT[0, 0] = 4000  # a hot pixel
FAINT_COLOR = deep(COLOR, 4095)


def stretched(values: np.ndarray) -> Pixels:
    """Apply the rule by sorting: 0.1 % and 99.9 % become black and white."""
    ranked = np.sort(values.ravel())
    low, high = (int(ranked[int(np.ceil(share * len(ranked))) - 1]) for share in (0.001, 0.999))
    return np.round(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


RAW_TAGS = {256: [64], 257: [48], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 278: [48]}
PREVIEW = tags({**RAW_TAGS, 254: [1], 330: [8]}, [COLOR.tobytes()])

JPEG_ROWS = [
    used("JPEG", "color, baseline", jpeg(COLOR, subsampling="444"), COLOR, 2, opencv),
    used("JPEG", "color, progressive, half the colors saved", saved("JPEG", COLOR, quality=95, progressive=True), COLOR, 8, opencv),
    used("JPEG", "color, arithmetic coding", made.read("arithmetic.jpg"), COLOR, 2, opencv),
    used("JPEG", "color, lossless", jpeg(COLOR, lossless=True), COLOR),
    used("JPEG", "RGB (no YCbCr)", saved("JPEG", COLOR, quality=95, keep_rgb=True), COLOR, 2, opencv),
    used("JPEG", "gray", jpeg(GRAY), gray(GRAY), 2, opencv),
    used("JPEG", "CMYK, as Adobe writes it: inverted", jpeg(255 - CMYK, colorspace="CMYK", outcolorspace="CMYK"), COLOR, 3, opencv),
    used("JPEG", "YCCK, as Adobe writes it: inverted", jpeg(255 - CMYK, colorspace="CMYK", outcolorspace="YCCK"), COLOR, 8, opencv),
    used("JPEG", "EXIF orientation 2 to 8", saved("JPEG", LYING, quality=95, subsampling=0, exif=exif(6)), COLOR, 2, becomes="used, upright"),
    used("JPEG", "a color profile (ICC)", saved("JPEG", COLOR, quality=95, subsampling=0, icc_profile=bytes(300)), COLOR, 2, opencv,
         becomes="used; the profile is not applied"),
    used("JPEG", "several images (MPO)", saved("MPO", Image.fromarray(COLOR), quality=95, subsampling=0, save_all=True,
         append_images=[Image.fromarray(COLOR[::-1])]), COLOR, 2, becomes="used: the first; `frames=N`", notes="frames=2"),
    used("JPEG", "white space, NUL or a byte order mark before it", b"\xef\xbb\xbf\r\n\0" + jpeg(COLOR, subsampling="444"), COLOR, 2,
         becomes="used; `leading_bytes`", notes="leading_bytes"),
    refused("JPEG", "other bytes before it", b"HTTP/1.1 200 OK\r\n\r\n" + jpeg(COLOR), "corrupt", "begins behind 19 other bytes"),
    refused("JPEG", "12 bits", jpeg(deep(COLOR, 4095), bitspersample=12), "unsupported_mode", "3 x 12 bits"),
    refused("JPEG", "hierarchical", jpeg(COLOR).replace(b"\xff\xc0", b"\xff\xc5"), "unsupported_mode", "hierarchical"),
    refused("JPEG", "JPEG-LS", imagecodecs.jpegls_encode(GRAY), "unsupported_mode", "JPEG-LS"),
]  # fmt: skip
CLEAR_4 = np.where(DISC == 0, 3, np.maximum(GRAY >> 4, 4))
PNG_ROWS = [
    *(used("PNG", f"gray, {bits} bit{'s' * (bits > 1)}", png(GRAY >> (8 - bits), bits, 0), gray(levels(GRAY, bits)), 0, opencv)
      for bits in (1, 2, 4, 8)),
    *(used("PNG", f"palette, {bits} bit{'s' * (bits > 1)}", png(GRAY >> (8 - bits), bits, 3, palette_chunk()[:0] + chunk(b"PLTE",
      PALETTE[: 2**bits].tobytes())), PALETTE[GRAY >> (8 - bits)], 0, opencv) for bits in (1, 2, 4, 8)),
    used("PNG", "gray, 16 bits", png(deep(GRAY), 16, 0), gray(GRAY), 0, opencv),
    used("PNG", "RGB, 8 bits", png(COLOR, 8, 2), COLOR, 0, opencv),
    used("PNG", "RGB, 16 bits", png(deep(COLOR), 16, 2), COLOR, 0, opencv),
    used("PNG", "RGB, interlaced", made.interlaced(COLOR, 2), COLOR, 0, opencv),
    used("PNG", "gray of 12 bits in 16", png(DARK, 16, 0), gray(GRAY), becomes="used; `range_stretched=0-4095`",
         notes="range_stretched=0-4095"),
    used("PNG", "RGB of 12 bits in 16", png(FAINT_COLOR, 16, 2), COLOR, becomes="used; `range_stretched=0-4095`",
         notes="range_stretched=0-4095"),
    used("PNG", "gray and alpha, 8 bits", png(np.dstack([GRAY // 2, SOFT]), 8, 4), gray(on(255, (GRAY // 2)[:, :, None], SOFT)[:, :, 0]),
         1, becomes="used, on white"),
    used("PNG", "gray and alpha, 16 bits", png(deep(np.dstack([GRAY // 2 + 64, SOFT])), 16, 4),
         gray(on(255, (GRAY // 2 + 64)[:, :, None], SOFT)[:, :, 0]), 1, becomes="used, on white"),
    used("PNG", "RGBA, 8 bits", png(np.dstack([COLOR, SOFT]), 8, 6), on(255, COLOR, SOFT), 1, becomes="used, on white"),
    used("PNG", "RGBA, 16 bits", png(deep(np.dstack([COLOR, SOFT])), 16, 6), on(255, COLOR, SOFT), 1, becomes="used, on white"),
    used("PNG", "RGBA, only what is nearly white shows", png(WHITE_ON_CLEAR, 8, 6), gray(DISC), becomes="used, on black; `ground=black`",
         notes="ground=black"),
    used("PNG", "RGBA, nothing shows: alpha is 0 all over", png(np.dstack([COLOR, 0 * GRAY]), 8, 6), COLOR,
         becomes="used, without its alpha; `alpha_ignored`", notes="alpha_ignored"),
    used("PNG", "gray, 4 bits, one of them transparent", png(CLEAR_4, 4, 0, chunk(b"tRNS", b"\0\3")),
         gray(np.where(DISC == 0, 255, CLEAR_4 * 17).astype(np.uint8)), becomes="used, on white"),
    used("PNG", "gray, 16 bits, one of them transparent", png(np.where(DISC == 0, 30001, np.maximum(deep(GRAY), 30002)), 16, 0,
         chunk(b"tRNS", (30001).to_bytes(2, "big"))), gray(np.where(DISC == 0, 255, np.maximum(GRAY, 117)).astype(np.uint8)),
         becomes="used, on white"),
    used("PNG", "RGB, 16 bits, one color transparent", png(np.where(DISC[:, :, None] == 0, (256, 1, 2), deep(COLOR)), 16, 2,
         chunk(b"tRNS", b"\1\0\0\1\0\2")), on(255, COLOR, DISC), becomes="used, on white"),
    used("PNG", "palette with transparent colors", png(np.where(DISC == 0, 0, np.maximum(GRAY, 1)), 8, 3, palette_chunk(),
         chunk(b"tRNS", b"\0")), np.where(DISC[:, :, None] == 0, 255, PALETTE[np.maximum(GRAY, 1)]).astype(np.uint8),
         becomes="used, on white"),
    used("PNG", "gamma, chromaticities, a profile", png(COLOR, 8, 2, chunk(b"gAMA", (100000).to_bytes(4, "big"))), COLOR,
         becomes="used; they are not applied"),
    used("PNG", "EXIF orientation", saved("PNG", LYING, exif=exif(6)), COLOR, becomes="used, upright"),
    refused("PNG", "as Apple packs it into applications (CgBI)", png(COLOR, 8, 2).replace(b"\0\0\0\rIHDR", chunk(b"CgBI", b"P\0 \2") +
            b"\0\0\0\rIHDR"), "unsupported_mode", "CgBI"),
    used("PNG", "moving (APNG)", saved("PNG", COLOR, save_all=True, append_images=[Image.fromarray(COLOR[::-1])]), COLOR,
         becomes="used: the first; `frames=N`", notes="frames=2"),
]  # fmt: skip
FRAMES = {"save_all": True, "append_images": [Image.fromarray(COLOR[::-1])]}
WEB_ROWS = [
    used("WebP", "lossy", saved("WEBP", COLOR, quality=95), COLOR, 20, by_webp),
    used("WebP", "lossless", saved("WEBP", COLOR, lossless=True), COLOR, 0, by_webp),
    used("WebP", "alpha", saved("WEBP", np.dstack([COLOR, DISC]), lossless=True, exact=True), on(255, COLOR, DISC), becomes="used, on white"),
    used("WebP", "EXIF orientation", saved("WEBP", LYING, lossless=True, exif=exif(6)), COLOR, becomes="used, upright"),
    used("WebP", "moving", saved("WEBP", COLOR, lossless=True, **FRAMES), COLOR, becomes="used: the first; `frames=N`", notes="frames=2"),
    used("GIF", "one image", saved("GIF", Image.fromarray(GRAY)), gray(GRAY), 0, opencv),
    used("GIF", "interlaced", saved("GIF", Image.fromarray(GRAY), interlace=1), gray(GRAY), 0, opencv),
    used("GIF", "a first frame smaller than the whole", made.on_larger_canvas(saved("GIF", Image.fromarray(GRAY))),
         gray(np.pad(GRAY, ((12, 10), (10, 16)))), 0, opencv, becomes="used, in the GIF's own background"),
    used("GIF", "transparent", saved("GIF", Image.fromarray(np.where(DISC == 0, 7, GRAY | 8)),
         transparency=7), gray(np.where(DISC == 0, 255, GRAY | 8).astype(np.uint8)), becomes="used, on white"),
    used("GIF", "moving", saved("GIF", Image.fromarray(GRAY), save_all=True, append_images=[Image.fromarray(GRAY[::-1])]), gray(GRAY),
         becomes="used: the first; `frames=N`", notes="frames=2"),
    used("AVIF", "8 bits", saved("AVIF", COLOR, quality=98, subsampling="4:4:4"), COLOR, 4, by_avif),
    used("AVIF", "10 bits", imagecodecs.avif_encode(deep(COLOR, 1023), bitspersample=10, level=95), COLOR, 8),
    used("AVIF", "alpha", saved("AVIF", np.dstack([COLOR, DISC]), quality=98, subsampling="4:4:4"), on(255, COLOR, DISC), 5,
         becomes="used, on white"),
    used("AVIF", "turned (irot, imir, with or without EXIF)", saved("AVIF", LYING, quality=98, subsampling="4:4:4", exif=exif(6)), COLOR, 4,
         becomes="used, upright"),
    used("AVIF", "moving", saved("AVIF", COLOR, quality=98, subsampling="4:4:4", **FRAMES), COLOR, 6, becomes="used: the first; `frames=N`",
         notes="frames=2"),
    used("HEIC", "8 bits, with `divcon[heif]`", made.read("plain.heic"), COLOR, 8),
    used("HEIC", "alpha, with `divcon[heif]`", made.read("alpha.heic"), on(255, COLOR, DISC), 8, becomes="used, on white"),
    used("HEIC", "turned (irot, with EXIF that says so too), with `divcon[heif]`", made.read("turned.heic"), COLOR, 8, becomes="used, upright"),
]  # fmt: skip
SOME = PALETTE[:16]
FIVE = (COLOR >> 3).astype(np.uint16)
MASKED = np.dstack([COLOR[:, :, ::-1], DISC])
BMP_ROWS = [
    used("BMP", "1 bit, palette", bmp(1, upward(made.packed(BITS, 1)), colors=PALETTE[[9, 200]]), PALETTE[[9, 200]][BITS], 0, opencv),
    used("BMP", "4 bits, palette", bmp(4, upward(made.packed(GRAY >> 4, 4)), colors=SOME), SOME[GRAY >> 4], 0, opencv),
    used("BMP", "8 bits, palette", bmp(8, upward(GRAY), colors=PALETTE), PALETTE[GRAY], 0, opencv),
    used("BMP", "8 bits, gray", bmp(8, upward(GRAY), colors=np.stack([np.arange(256)] * 3, 1)), gray(GRAY), 0, opencv),
    used("BMP", "8 bits, of which two colors, black and white, are listed",
         bmp(8, upward(BITS), colors=np.array([[0] * 3, [255] * 3]), used=2), gray(255 * BITS), 0, opencv),
    used("BMP", "4 bits, palette of the 16 darkest grays", bmp(4, upward(made.packed(GRAY >> 4, 4)),
         colors=np.stack([np.arange(16)] * 3, 1)), gray(GRAY >> 4), 0, opencv),
    used("BMP", "8 bits, run lengths (RLE8)", bmp(8, made.run_lengths(GRAY // 16), colors=PALETTE, compression=1), PALETTE[GRAY // 16],
         0, opencv),
    used("BMP", "16 bits, 5 a color", bmp(16, upward(FIVE[:, :, 0] << 10 | FIVE[:, :, 1] << 5 | FIVE[:, :, 2])), levels(COLOR, 5), 1),
    used("BMP", "16 bits, 5, 6 and 5", bmp(16, upward(FIVE[:, :, 0] << 11 | FIVE[:, :, 1] << 6 | FIVE[:, :, 2]), compression=3,
         masks=(0xF800, 0x7E0, 0x1F)), levels(COLOR, 5), 2),
    used("BMP", "24 bits", bmp(24, upward(COLOR[:, :, ::-1])), COLOR, 0, opencv),
    used("BMP", "24 bits, from above", bmp(24, COLOR[:, :, ::-1].tobytes(), height=-48), COLOR, 0, opencv),
    used("BMP", "24 bits, OS/2", bmp(24, upward(COLOR[:, :, ::-1]), header=12), COLOR, 0, opencv),
    used("BMP", "32 bits", bmp(32, upward(MASKED)), COLOR, 0, opencv, becomes="used; the fourth byte is not alpha"),
    used("BMP", "32 bits with a mask for alpha", bmp(32, upward(MASKED), compression=3, header=108,
         masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)), on(255, COLOR, DISC), becomes="used, on white"),
    used("BMP", "32 bits with a mask for alpha that is 0 all over", bmp(32, upward(np.dstack([COLOR[:, :, ::-1], 0 * GRAY])), compression=3,
         header=108, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)), COLOR, becomes="used, without its alpha; `alpha_ignored`",
         notes="alpha_ignored"),
    used("BMP", "4 bits, run lengths (RLE4)", bmp(4, made.run_lengths_of_4(GRAY >> 4), colors=SOME, compression=2), SOME[GRAY >> 4],
         0, opencv),
    refused("BMP", "run lengths that leave pixels out", bmp(8, b"\x0a\x05\0\0\0\1", colors=PALETTE, compression=1), "unsupported_mode"),
    refused("BMP", "2 bits, masks of other widths, a JPEG or PNG inside", bmp(24, COLOR.tobytes(), compression=4), "unsupported_mode"),
]  # fmt: skip
PNM_ROWS = [
    used("PBM", "1 bit, P1 and P4", b"P4\n# by hand\n64 48\n" + made.packed(BITS, 1).tobytes(), gray(255 - 255 * BITS), 0, opencv),
    used("PBM", "P1, digits in a row", b"P1 64 48\n" + b"\n".join(bytes(row + 48) for row in BITS), gray(255 - 255 * BITS)),
    used("PGM", "P2, text", b"P2 64 48 255 " + " ".join(map(str, GRAY.ravel())).encode(), gray(GRAY), 0, pillow),
    used("PGM", "P5, 8 bits", b"P5 64 48 255\n" + GRAY.tobytes(), gray(GRAY), 0, opencv),
    used("PGM", "P5, 8 bits, maxval 15", b"P5 64 48 15\n" + (GRAY >> 4).tobytes(), gray(levels(GRAY, 4)), becomes="used: maxval is white"),
    used("PGM", "P5, 16 bits", b"P5 64 48 65535\n" + deep(GRAY).astype(">u2").tobytes(), gray(GRAY), 0, opencv),
    used("PGM", "P5, 16 bits, maxval 4095", b"P5 64 48 4095\n" + DARK.astype(">u2").tobytes(), gray(GRAY), becomes="used: maxval is white"),
    used("PPM", "P3, text", b"P3 64 48 255 " + " ".join(map(str, COLOR.ravel())).encode(), COLOR, 0, pillow),
    used("PPM", "P6, 8 bits", b"P6 64 48 255\n" + COLOR.tobytes(), COLOR, 0, opencv),
    used("PPM", "P6, 16 bits", b"P6 64 48 65535\n" + deep(COLOR).astype(">u2").tobytes(), COLOR, 0, opencv),
    used("PPM", "P6, 12 bits in 16", b"P6 64 48 65535\n" + FAINT_COLOR.astype(">u2").tobytes(), COLOR,
         becomes="used; `range_stretched=0-4095`", notes="range_stretched=0-4095"),
    refused("PPM", "a value above maxval", b"P5 64 48 15\n" + GRAY.tobytes(), "corrupt"),
]  # fmt: skip
WHOLE = saved("JPEG", COLOR, quality=95, subsampling=0)


def shortened(data: bytes) -> bytes:
    """The first half of the only strip, and a directory that gives this length: both agree."""
    directory = read_directory(data)
    (length,) = directory.tags[279]
    return rewrite(directory, {279: [length // 2]})


COMPRESSED = {
    "none": None,
    "LZW": "lzw",
    "deflate": "zlib",
    "PackBits": "packbits",
    "LZMA": "lzma",
    "Zstandard": "zstd",
}
TIFF_ROWS = [
    *(used("TIFF", f"RGB, 8 bits, {name}", tiff(COLOR, "rgb", compression=how, rowsperstrip=13), COLOR, 0, by_tifffile)
      for name, how in COMPRESSED.items()),
    used("TIFF", "RGB, 8 bits, LZW with a predictor", tiff(COLOR, "rgb", compression="lzw", predictor=True), COLOR, 0, by_tifffile),
    used("TIFF", "RGB, 8 bits, tiles", tiff(COLOR, "rgb", tile=(32, 16)), COLOR, 0, by_tifffile),
    used("TIFF", "RGB, 8 bits, planes", tiff(COLOR, "rgb", planes=True), COLOR, 0, by_tifffile),
    used("TIFF", "RGB, 8 bits, BigTIFF", tiff(COLOR, "rgb", big=True), COLOR, 0, by_tifffile),
    used("TIFF", "RGB, 8 bits, BigTIFF, the high byte first", tiff(COLOR, "rgb", big=True, order=">"), COLOR, 0, by_tifffile),
    used("TIFF", "RGB, 16 bits", tiff(deep(COLOR), "rgb"), COLOR, 0, by_tifffile),
    used("TIFF", "RGB, 16 bits, the high byte first, deflate with a predictor", tiff(deep(COLOR), "rgb", order=">", compression="zlib",
         predictor=True), COLOR, 0, by_tifffile),
    used("TIFF", "RGB, 16 bits, planes", tiff(deep(COLOR), "rgb", planes=True), COLOR, 0, by_tifffile),
    used("TIFF", "RGB, 16 bits, planes, the high byte first, tiles", tiff(deep(COLOR), "rgb", planes=True, order=">", tile=(32, 16)), COLOR,
         0, by_tifffile),
    used("TIFF", "RGB, 16 bits, planes, LZW", tiff(deep(COLOR), "rgb", planes=True, compression="lzw"), COLOR, 0, by_tifffile),
    used("TIFF", "RGB of 12 bits in 16", tiff(FAINT_COLOR, "rgb"), COLOR, becomes="used; `range_stretched=0-4095`",
         notes="range_stretched=0-4095"),
    used("TIFF", "RGB and samples of unknown use, 8 bits", tiff(np.dstack([COLOR, SOFT, SOFT]), "rgb", extrasamples=["unspecified"] * 2),
         COLOR, 0, by_tifffile, becomes="used, without them"),
    used("TIFF", "RGB and a sample of unknown use, 16 bits", tiff(deep(np.dstack([COLOR, SOFT])), "rgb", extrasamples=["unspecified"]),
         COLOR, 0, by_tifffile, becomes="used, without it"),
    used("TIFF", "RGB and samples of unknown use, planes, 16 bits", tiff(deep(np.dstack([COLOR] + [SOFT] * 5)), "rgb", planes=True,
         extrasamples=["unspecified"] * 5), COLOR, becomes="used, without them"),
    *(used("TIFF", f"RGB and alpha, {bits} bits{', planes' * planes}", tiff(np.dstack([COLOR, SOFT]) if bits == 8 else
      deep(np.dstack([COLOR, SOFT])), "rgb", extrasamples=["unassalpha"], planes=planes), on(255, COLOR, SOFT), 1,
      becomes="used, on white") for bits in (8, 16) for planes in (False, True)),
    *(used("TIFF", f"RGB and alpha, multiplied, {bits} bits{', planes' * planes}", tiff(np.dstack([on(0, COLOR, DISC), DISC]) if bits == 8
      else deep(np.dstack([on(0, COLOR, DISC), DISC])), "rgb", extrasamples=["assocalpha"], planes=planes), on(255, COLOR, DISC), 1,
      becomes="used, on white") for bits in (8, 16) for planes in (False, True)),
    *(used("TIFF", f"gray and alpha{', multiplied' * (kind == 'assocalpha')}, 8 bits{', planes' * planes}",
      tiff(np.dstack([np.where(DISC == 0, 0, GRAY), DISC]), extrasamples=[kind], planes=planes), on(255, gray(GRAY), DISC),
      becomes="used, on white") for kind in ("unassalpha", "assocalpha") for planes in (False, True)),
    *(used("TIFF", f"gray, {bits} bits", plain(bits, 1, made.packed(GRAY >> (8 - bits), bits).tobytes()), gray(levels(GRAY, bits)))
      for bits in (2, 4)),
    used("TIFF", "gray, 8 bits", tiff(GRAY), gray(GRAY), 0, by_tifffile),
    used("TIFF", "gray, 8 bits, white is 0", tiff(255 - GRAY, "miniswhite"), gray(GRAY)),
    used("TIFF", "gray, 16 bits", tiff(deep(GRAY)), gray(GRAY), 0, by_tifffile),
    used("TIFF", "gray, 16 bits, the high byte first", tiff(deep(GRAY), order=">"), gray(GRAY), 0, by_tifffile),
    used("TIFF", "gray, 16 bits, white is 0", tiff(65535 - deep(GRAY), "miniswhite"), gray(GRAY)),
    used("TIFF", "gray, 16 bits, white is 0, the high byte first", tiff(65535 - deep(GRAY), "miniswhite", order=">", compression="lzw"),
         gray(GRAY)),
    used("TIFF", "gray, 12 bits", tiff(deep(GRAY, 4095), bitspersample=12), gray(GRAY)),
    used("TIFF", "gray of 12 bits in 16", tiff(DARK), gray(GRAY), becomes="used; `range_stretched=0-4095`", notes="range_stretched=0-4095"),
    used("TIFF", "gray, 16 bits, MaxSampleValue 10000", plain(16, 1, deep(GRAY, 10000).astype("<u2").tobytes(), t281=[10000]), gray(GRAY),
         becomes="used: it is white; `range_stretched=0-10000`", notes="range_stretched=0-10000"),
    used("TIFF", "gray, 16 bits, 99.9 % in the lowest quarter of its depth", tiff(FAINT), gray(stretched(FAINT)), 0.5,
         becomes="used; `range_stretched=LOW-HIGH`", notes="range_stretched=100-"),
    used("TIFF", "gray, 8 bits, the low bit first (FillOrder 2)", plain(8, 1, np.packbits(np.unpackbits(GRAY, bitorder="little")).tobytes(),
         t266=[2]), gray(GRAY)),
    used("TIFF", "bilevel", tiff(BITS.astype(bool)), gray(255 * BITS)),
    *(used("TIFF", f"bilevel, {name}", saved("TIFF", Image.fromarray(BITS * 255).convert("1"), compression=how), gray(255 * BITS))
      for name, how in (("G3", "group3"), ("G4", "group4"), ("PackBits", "packbits"))),
    used("TIFF", "palette", tiff(GRAY, "palette", colormap=(PALETTE.T.astype(np.uint16) * 257)), PALETTE[GRAY]),
    used("TIFF", "palette whose colors have 8 bits where 16 are due", plain(8, 3, GRAY.tobytes(), t320=PALETTE.T.ravel().tolist()),
         PALETTE[GRAY]),
    *(used("TIFF", f"CMYK, {bits} bits{', planes' * planes}", tiff(CMYK if bits == 8 else deep(CMYK), "separated", planes=planes), COLOR)
      for bits in (8, 16) for planes in (False, True)),
    used("TIFF", "JPEG inside, RGB", tiff(COLOR, "rgb", compression="jpeg", compressionargs={"level": 95}), COLOR, 8, by_tifffile),
    used("TIFF", "JPEG inside, YCbCr", saved("TIFF", COLOR, compression="jpeg", quality=95), COLOR, 8, by_tifffile),
    used("TIFF", "JPEG inside, gray", tiff(GRAY, compression="jpeg", compressionargs={"level": 95}), gray(GRAY), 2, by_tifffile),
    used("TIFF", "old JPEG inside, whole", tags({**RAW_TAGS, 259: [6], 262: [6], 512: [1], 513: [8], 514: [len(WHOLE)], 530: [1, 1]}, [WHOLE]),
         COLOR, 2),
    used("TIFF", "a thumbnail first, the image behind it", made.two_pages(tags({**RAW_TAGS, 254: [1], 256: [16], 257: [12], 278: [12]},
         [COLOR[::4, ::4].tobytes()]), RAW_TAGS, COLOR.tobytes()), COLOR, becomes="used: the image", notes="frames=2"),
    used("TIFF", "YCbCr, not subsampled", tags({**RAW_TAGS, 262: [6], 530: [1, 1]}, [np.asarray(Image.fromarray(COLOR).convert("YCbCr"))
         .tobytes()]), COLOR, 2),
    used("TIFF", "orientation 2 to 8", tags({**RAW_TAGS, 256: [48], 257: [64], 274: [6], 278: [64]}, [LYING.tobytes()]), COLOR,
         becomes="used, upright"),
    used("TIFF", "orientation, 16 bits", tiff(deep(LYING), "rgb", extratags=[(274, "H", 1, 6, True)]), COLOR, becomes="used, upright"),
    used("TIFF", "several pages", tiff(np.stack([GRAY, GRAY[::-1]])), gray(GRAY), becomes="used: the first; `frames=N`", notes="frames=2"),
    *(refused("TIFF", f"gray, {name}", tiff((GRAY // 2).astype(kind)), "unsupported_mode", said) for name, kind, said in (
        ("8 bits, signed", "i1", "signed"), ("16 bits, signed", "i2", "signed"), ("32 bits", "u4", "32 bits"),
        ("floating point", "f4", "floating point"))),
    refused("TIFF", "gray and alpha, 16 bits", tiff(deep(np.dstack([GRAY, SOFT])), extrasamples=["unassalpha"]), "unsupported_mode"),
    refused("TIFF", "more samples than these side by side", tiff(deep(np.dstack([COLOR] * 2)), "rgb"), "unsupported_mode", "6 x 16"),
    refused("TIFF", "Lab", tiff(COLOR, "cielab"), "unsupported_mode", "Lab"),
    refused("TIFF", "YCbCr, subsampled, without JPEG", tags({**RAW_TAGS, 262: [6], 530: [2, 2]}, [COLOR.tobytes()]), "unsupported_mode"),
    refused("TIFF", "inks other than CMYK", tags({**RAW_TAGS, 258: [8] * 4, 262: [5], 277: [4], 332: [2]}, [CMYK.tobytes()]),
            "unsupported_mode"),
    refused("TIFF", "JPEG 2000, WebP, JPEG XL, PNG or LERC inside, old JPEG in parts", tiff(COLOR, "rgb", compression="jpeg2000"),
            "unsupported_mode", "34712"),
    refused("TIFF", "half a JPEG inside", shortened(tiff(COLOR, "rgb", compression="jpeg")), "truncated"),
    *(refused("TIFF", f"half a fax inside, {name}", shortened(saved("TIFF", Image.fromarray(255 * BITS).convert("1"), compression=how)),
      "truncated") for name, how in (("G3", "group3"), ("G4", "group4"))),
    refused("TIFF", "fewer bytes than its rows need", tags({**RAW_TAGS, 257: [49], 278: [49]}, [COLOR.tobytes()]), "truncated"),
    refused("TIFF", "camera RAW: CR2, NEF, ARW, DNG", PREVIEW, "format_not_allowed", "camera RAW"),
]  # fmt: skip
BOX = b"\0\0\0\x18ftyp%b\0\0\0\0%b" + bytes(40)
OTHER_ROWS = [
    refused("any", "one color all over", saved("PNG", Image.new("RGB", (64, 48), (9, 9, 9))), "one_color", "#090909"),
    refused("camera RAW", "CR3", BOX.replace(b"%b", b"crx "), "format_not_allowed", "CR3"),
    *(refused("camera RAW", name, begin + bytes(60), "format_not_allowed", name) for name, begin in (
        ("ORF", b"IIRO"), ("RW2", b"IIU\0"), ("RAF", b"FUJIFILMCCD-RAW"))),
    refused("JPEG 2000", "JP2", saved("JPEG2000", COLOR), "format_not_allowed", "JPEG 2000"),
    refused("JPEG XL", "with or without boxes", imagecodecs.jpegxl_encode(COLOR), "format_not_allowed", "JPEG XL"),
    refused("PAM, PFM", "any", b"Pf\n64 48\n-1.0\n" + bytes(64 * 48 * 4), "format_not_allowed", "PFM"),
    refused("PSD, EPS, PDF, FITS, OpenEXR, Radiance HDR, DDS, XCF, QOI, ICO, ICNS, JPEG XR", "any", b"v/1\1" + bytes(60), "format_not_allowed"),
    refused("MP3, AppleDouble, film", "with a image in it", b"ID3\4\0\0\0\0\x0f\x76APIC" + jpeg(COLOR) + bytes(400), "not_an_image"),
    refused("WAV, AVI", "any", b"RIFF" + struct.pack("<I", 2036) + b"WAVEfmt " + bytes(2032), "not_an_image"),
    refused("XPM, SGI", "any", b"/* XPM */\nstatic char *x[] = {\n" + bytes(60), "format_not_allowed", "XPM"),
    refused("TGA, PCX, XBM", "any: they have no certain signature", saved("TGA", COLOR), "not_an_image"),
    refused("SVG", "any", b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "vector_image"),
]  # fmt: skip
ROWS = [*JPEG_ROWS, *PNG_ROWS, *WEB_ROWS, *BMP_ROWS, *PNM_ROWS, *TIFF_ROWS, *OTHER_ROWS]


def named(row: Row) -> str:
    return f"{row.format}-{row.file}"


def apart(one: Pixels, other: Pixels) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("row", [row for row in ROWS if row.picture is not None], ids=named)
def test_a_file_becomes_the_image_that_was_written_and_that_another_reader_sees(row: Row) -> None:
    assert row.picture is not None
    picture = decode(row.data).pixels
    assert apart(picture, row.picture) <= row.within
    assert row.notes in validate.check_bytes(row.data, b"", validate.Verdict()).detail
    if row.other:
        assert apart(picture, row.other(row.data)) <= min(row.within, 2)


@pytest.mark.parametrize("row", [row for row in ROWS if row.picture is not None], ids=named)
def test_shrunk_or_not_it_is_the_same_image(row: Row) -> None:
    picture = decode(row.data).pixels
    assert np.array_equal(decode_shrunk(row.data, 1000), picture) or row.format == "JPEG"
    small = np.asarray(
        Image.fromarray(picture).resize(fitted_size(picture.shape[1], picture.shape[0], 16), Image.Resampling.BOX)
    )
    assert apart(decode_shrunk(row.data, 16), small) < 12


@pytest.mark.parametrize("row", [row for row in ROWS if row.picture is None], ids=named)
def test_what_is_not_read_is_rejected_for_its_own_reason(row: Row) -> None:
    for do in (decode, lambda data: decode_shrunk(data, 16)):
        if row.reason == "one_color" and do is not decode:
            continue
        with pytest.raises(Rejected, match=row.notes) as error:
            do(row.data)
        assert error.value.reason == row.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (imagecodecs.jpegls_encode(COLOR), "unsupported_mode"),
        (imagecodecs.jpegls_encode(deep(GRAY)), "unsupported_mode"),
        (b"RIFF" + struct.pack("<I", 5000) + b"AVI LIST" + bytes(4992), "not_an_image"),
        (b"RIFF" + struct.pack("<I", 5000) + b"sfbkLIST" + bytes(range(1, 256)) * 20, "not_an_image"),
        (saved("SGI", COLOR), "format_not_allowed"),
        (saved("PCX", COLOR), "not_an_image"),
        (saved("XBM", Image.fromarray(255 * BITS).convert("1")), "not_an_image"),
    ],
)
def test_what_begins_like_one_of_our_formats_is_named_for_what_it_is(data: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as error:
        decode(data)
    assert error.value.reason == reason


def test_the_table_in_the_docs_is_the_one_that_is_tested() -> None:
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")][1:]
    assert lines == [row.line for row in ROWS]


WITHOUT = """
import sys
sys.modules["pi_heif"] = None
from divcon.data.decoding import formats
from divcon.data.index import validate
verdict = validate.check_bytes(open(sys.argv[1], "rb").read(), b"", validate.Verdict())
print(verdict.reason, verdict.detail, formats.DECODER_VERSIONS, sep="|")
"""


def test_without_its_extra_a_heic_says_what_to_type_and_is_looked_at_again_with_it() -> None:
    command = [sys.executable, "-c", WITHOUT, str(made.PICTURES / "plain.heic")]
    reason, detail, decoding = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("|")
    assert reason == "needs_extra" and "pip install 'divcon[heif]'" in detail
    assert decoding.strip() != formats.DECODER_VERSIONS  # what a scan remembers is kept under this


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
@pytest.mark.parametrize(
    "row", [*WEB_ROWS, *PNM_ROWS, *(row for row in TIFF_ROWS if row.picture is not None)], ids=named
)
def test_no_part_of_a_file_passes_for_the_whole(row: Row, cut: float) -> None:
    """Only bytes without pixels may be missing, or bytes behind the image."""
    if row.format not in ("GIF", "WebP") and "several pages" not in row.file:
        with contextlib.suppress(Rejected):
            assert (
                np.array_equal(decode(row.data[: int(len(row.data) * cut)]).pixels, decode(row.data).pixels)
                and cut > 0.9
            )


SIZES = {
    "AVIF": lambda data: data.replace(struct.pack(">II", 64, 48), struct.pack(">II", 30_000, 30_000)),
    "HEIC": lambda data: re.sub(
        rb"ispe\0{4}.{8}", b"ispe" + bytes(4) + struct.pack(">II", 30_000, 30_000), data, flags=re.DOTALL
    ),
    "PGM": lambda data: b"P5 30000 30000 255\n" + data,
    "PPM": lambda data: b"P3 999999999 999999999 255\n" + data,
    "TIFF": lambda data: tags({**RAW_TAGS, 256: [70_000], 257: [70_000]}, [data]),
}


@pytest.mark.parametrize("kind", SIZES)
def test_a_bomb_of_any_format_is_refused_by_its_header(kind: str) -> None:
    data = SIZES[kind](made.read("plain.heic") if kind == "HEIC" else saved("AVIF", COLOR))
    tracemalloc.start()
    for do in (decode, lambda data: decode_shrunk(data, 16)):
        with pytest.raises(Rejected) as error:
            do(data)
        assert error.value.reason == "too_many_pixels"
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_preview_never_passes_for_the_photograph() -> None:
    """A camera's raw file begins with a small image, and marks it in one of these ways."""
    for own in ({254: [1], 330: [8]}, {50706: [1, 4]}, {33421: [2, 2]}):
        with pytest.raises(Rejected, match="develop it") as error:
            decode(tags({**RAW_TAGS, **own}, [COLOR.tobytes()]))
        assert error.value.reason == "format_not_allowed"


def test_a_page_with_smaller_copies_of_itself_is_no_camera_raw() -> None:
    """Microscopes and maps write these: the first directory is the whole image, and others are below it."""
    assert np.array_equal(decode(tags({**RAW_TAGS, 254: [0], 330: [8]}, [COLOR.tobytes()])).pixels, COLOR)


def test_no_flipped_byte_of_a_new_format_gets_past_the_reasons() -> None:
    rng = np.random.default_rng(0)
    for row in [
        *PNM_ROWS[:3],
        *(row for row in [*TIFF_ROWS, *WEB_ROWS] if "16 bits" in row.file or row.format in ("AVIF", "HEIC")),
    ]:
        for at in rng.integers(0, len(row.data), 10):
            data = bytearray(row.data)
            data[at] ^= 1 << rng.integers(8)
            verdict = validate.check_bytes(bytes(data), b"", validate.Verdict())
            assert verdict.thumbnail or verdict.reason.isidentifier()
