"""Bytes to pixels, strictly: a picture comes out whole, upright and in RGB, or is rejected with a reason.

What a file is follows from its content; its name is never asked. docs/formats.md lists what is read as what.
"""

import contextlib
import io
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from . import backgrounds, bmp, deep_color, pnm, tiff, tiff_directory
from .formats import DECODING, EXTRA, FORMATS, OPENED, UNREAD, blanks, foreign, is_webp
from .headers import (
    JPEG,
    PNG,
    PNG_END,
    boxed_size,
    boxes_are_cut,
    is_boxed,
    jpeg_end,
    jpeg_frame,
    png_rows_are_missing,
    webp_size,
)
from .image_warnings import kind_and_frames
from .orientation import Picture, orientation, turned, upright
from .rejection import Rejected, judged
from .tone_range import eight_bits

__all__ = ["DECODING", "FORMATS", "PNG", "PNG_END", "Picture", "Rejected", "Seen", "fitted", "rgb", "seen", "shrunk"]

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 89_000_000
MIN_SIDE = 8
MAX_ASPECT = 32

# A picture is kept as it is, or as a decoder of JPEG shrinks it, while its short side is about `side` long.
ABOUT = 0.95, 1.5
EIGHTHS = 1, 2, 3, 4  # in these a JPEG is decoded faster than whole; in 5, 6 and 7 slower

JPEG_END, JPEG_SCAN, JPEG_NOTE = b"\xff\xd9", b"\xff\xda", b"\xff\xe1"
APPLES_OWN = b"CgBI"
NOISE = b"\x55\xa3" * 2000  # as good as any, to a decoder of JPEG
OPAQUE = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
LAYERED = {"1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBa"}


class Seen(NamedTuple):
    """A picture, and what is worth knowing of how it was made of its file."""

    picture: Picture
    notes: tuple[str, ...] = ()


def rgb(data: bytes) -> Picture:
    """The first picture in an encoded file, wholly decoded: upright, on a ground where it lets something through."""
    return seen(data).picture


def seen(data: bytes) -> Seen:
    """The same, with notes on it.

    Decoders fill in what is missing and say nothing; here it is looked for."""
    data = data[blanks(data) :]
    found = _strict(data)
    first = found.picture[0, 0]
    if all((row == first).all() for row in found.picture):
        raise Rejected("one_color", f"#{bytes(first).hex()} all over{_of_frames(data)}")
    return found


def _of_frames(data: bytes) -> str:
    _, count = kind_and_frames(data)
    return f", the first of {count} frames" if count > 1 else ""


def _strict(data: bytes) -> Seen:
    if pnm.is_pnm(data):
        flat = _whole_pnm(data)
        return Seen(np.asarray(flat.image), flat.notes)
    image = _opened(data)
    if image.format in ("JPEG", "MPO"):
        pixels = _strict_jpeg(data)
        if pixels is not None and image.mode in ("L", "RGB"):
            return Seen(turned(pixels, orientation(image)))
    flat = _whole(image, data)
    if image.format == "PNG" and png_rows_are_missing(data):
        raise Rejected("truncated", "it has fewer rows than it says")
    return Seen(np.asarray(flat.image), flat.notes)


def _strict_jpeg(data: bytes) -> Picture | None:
    """As it lies in the file; None where something else is wrong with it that a decoder makes up for."""
    try:
        pixels: Picture = simplejpeg.decode_jpeg(data, "RGB", strict=True)
        return pixels
    except ValueError as error:
        if "premature end" in str(error) or "found marker 0xd9" in str(error) or _ends_early(data):
            raise Rejected("truncated", "its data ends before the picture does") from error
        return None


def _ends_early(data: bytes) -> bool:
    """Whether more data before the end of a JPEG would show: of one that another flaw keeps a decoder from judging."""
    end = jpeg_end(data) - len(JPEG_END)
    files = data, data[:end] + NOISE + data[end:]
    with contextlib.suppress(Rejected), judged(data):
        as_it_is, with_more = (np.asarray(Image.open(io.BytesIO(file), formats=OPENED)) for file in files)
        return bool((as_it_is != with_more).any())
    return False


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) of a picture as it is kept: its short side at least `side` long, or a twentieth less.

    It stays as it is up to half as much again: resampling what is nearly right costs more than to keep it. Else it
    shrinks by eighths if that hits the same range, or to `side`. It never grows.
    """
    short = min(width, height)
    least, most = ABOUT[0] * side, ABOUT[1] * side
    if short <= most:
        return width, height
    for eighths in EIGHTHS:
        if least <= _eighths(short, eighths) <= most:
            return _eighths(width, eighths), _eighths(height, eighths)
    return _rounded(width * side, short), _rounded(height * side, short)


def _eighths(length: int, eighths: int) -> int:
    return (length * eighths + 7) // 8


def shrunk(data: bytes, side: int) -> Picture:
    """The picture at exactly its `fitted` size."""
    data = data[blanks(data) :]
    if _is_plain_jpeg(data):
        with contextlib.suppress(ValueError):  # Pillow knows what is wrong, or reads it after all
            return _shrunk_jpeg(data, side)
    if pnm.is_pnm(data):
        return _fitted(_whole_pnm(data).image, side)
    image = _opened(data)
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        with contextlib.suppress(ValueError):
            return turned(_shrunk_jpeg(data, side), orientation(image))
    return _fitted(_whole(image, data).image, side)


def _fitted(image: Image.Image, side: int) -> Picture:
    return np.asarray(_resized(image, fitted(*image.size, side)))


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether it is a JPEG that ends as one, and says nothing about being turned: most need no second look."""
    whole = data.startswith(JPEG) and data.endswith(JPEG_END) and len(data) <= MAX_BYTES
    return whole and data.find(JPEG_NOTE, 0, data.find(JPEG_SCAN)) < 0


def _shrunk_jpeg(data: bytes, side: int) -> Picture:
    """As it lies in the file: scaled while it is decoded as far as that goes, by resampling for the rest."""
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    if colors not in ("YCbCr", "Gray"):
        raise ValueError(f"{colors} is left to Pillow")
    _check_size(width, height)
    size = fitted(width, height, side)
    eighths = next((e for e in EIGHTHS if _eighths(width, e) >= size[0] and _eighths(height, e) >= size[1]), 8)
    least = {"min_width": _eighths(width, eighths), "min_height": _eighths(height, eighths)}
    pixels: Picture = simplejpeg.decode_jpeg(data, "RGB", **least, strict=False)
    return pixels if pixels.shape[1::-1] == size else np.asarray(_resized(Image.fromarray(pixels), size))


def _opened(data: bytes) -> Image.Image:
    """The file with its header read, and nothing of its pixels: what follows from the header is decided here."""
    _check_bytes(data)
    if is_webp(data):  # opening one takes the memory for its canvas
        _check_size(*webp_size(data))
    if is_boxed(data):
        _check_boxes(data)
    with judged(data):
        image = _header(data)
        _check_size(*image.size)
        _check_ends(image, data)
        return image


def _check_boxes(data: bytes) -> None:
    """Of AVIF and HEIC what their decoders say in words of their own, or after they took the memory."""
    width, height = boxed_size(data)
    if foreign(data) in UNREAD and width * height > MAX_PIXELS:
        raise Rejected("too_many_pixels", f"{width} x {height}")
    if foreign(data) in UNREAD and foreign(data) not in EXTRA and boxes_are_cut(data):
        raise Rejected("truncated", "its data ends before the picture does")


def _header(data: bytes) -> Image.Image:
    if data.startswith(b"BM"):
        return bmp.opened(data)
    if data.startswith(PNG) and data[12:16] == APPLES_OWN:
        raise Rejected("unsupported_mode", "a PNG as Apple packs it into applications (CgBI)")
    if not tiff_directory.is_tiff(data):
        return Image.open(io.BytesIO(data), formats=OPENED)
    directory = tiff_directory.directory(data)
    if directory.has_size:
        _check_size(directory.one(tiff_directory.WIDTH, 0), directory.one(tiff_directory.HEIGHT, 0))
    return tiff.opened(directory)


def _whole_pnm(data: bytes) -> backgrounds.Flat:
    _check_bytes(data)
    with judged(data):
        header = pnm.header(data)
        _check_size(header.width, header.height)
        return pnm.flat(data, header)


def _whole(image: Image.Image, data: bytes) -> backgrounds.Flat:
    """All its pixels, in RGB and upright."""
    with judged(data):
        if image.format == "TIFF":
            return tiff.flat(data)
        if image.format == "BMP":
            bmp.load(image, data)
        image.load()
        flat = _flat(image, data)
        return flat._replace(image=upright(flat.image, orientation(image)))


def _check_bytes(data: bytes) -> None:
    if not data:
        raise Rejected("empty_file")
    if len(data) > MAX_BYTES:
        raise Rejected("file_too_large", f"{len(data):,} bytes")


def _check_size(width: int, height: int) -> None:
    size = f"{width} x {height}"
    if width * height > MAX_PIXELS:
        raise Rejected("too_many_pixels", size)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Rejected("extreme_aspect", size)
    if min(width, height) < MIN_SIDE:
        raise Rejected("too_small", size)


def _check_ends(image: Image.Image, data: bytes) -> None:
    """What Pillow passes over in silence: checksums of a PNG, and the ends of PNG and JPEG."""
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
        if PNG_END not in data:
            raise Rejected("truncated", "its end is missing")
    if image.format in ("JPEG", "MPO") and (frame := jpeg_frame(data)) and not frame.is_common:
        raise Rejected("unsupported_mode", frame.said)
    if image.format in ("JPEG", "MPO") and not jpeg_end(data):
        raise Rejected("truncated", "its end is missing")


def _flat(image: Image.Image, data: bytes) -> backgrounds.Flat:
    """Any kind of pixels as plain RGB."""
    if deep_color.is_deep_png(data):
        return eight_bits(deep_color.deep_png(image, data))
    if image.has_transparency_data and image.mode in LAYERED:
        _scale_clear_gray(image, data)
        return backgrounds.flat(image.convert("RGBA"))
    if image.mode in OPAQUE:
        return backgrounds.Flat(image.convert("RGB"))
    raise Rejected("unsupported_mode", image.mode)


def _scale_clear_gray(image: Image.Image, data: bytes) -> None:
    """The gray that a PNG of 2 or 4 bits calls transparent, in 8 bits as its pixels are."""
    if data.startswith(PNG) and data[24] in (2, 4) and image.mode == "L":
        image.info["transparency"] *= 255 // (2 ** data[24] - 1)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Averaging whole blocks first costs nothing to see, and much less time on a large picture.
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _rounded(a: int, b: int) -> int:
    return (2 * a + b) // (2 * b)
