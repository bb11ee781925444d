"""Bytes to pixels, strictly: an image comes out whole, upright and in RGB, or Rejected is raised with a reason.

The format of a file follows from its content; its name is ignored. docs/formats.md lists all formats.
"""

import contextlib
import io
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from . import pnm
from .checked_image import MAX_BYTES, check_png_rows, check_size, decode_opened, decode_pnm, open_checked
from .formats import OPENED, leading_blanks
from .headers import JPEG, jpeg_end
from .image_warnings import kind_and_frames
from .orientation import RGBArray, orientation, turn_array
from .rejection import Rejected, as_rejection

# An image is kept at its size, or as a JPEG decoder shrinks it, while its short side is about `side` long.
LEAST, MOST = 0.95, 1.5
EIGHTHS = 1, 2, 3, 4  # a JPEG is decoded faster at these sizes than whole; at 5, 6 and 7 eighths slower

JPEG_END, JPEG_SCAN, JPEG_EXIF = b"\xff\xd9", b"\xff\xda", b"\xff\xe1"
NOISE = b"\x55\xa3" * 2000  # any bytes that a JPEG decoder takes for compressed data


class DecodedImage(NamedTuple):
    """The pixels of an image, and notes on how they were made."""

    pixels: RGBArray
    notes: tuple[str, ...] = ()


def decode(data: bytes) -> DecodedImage:
    """Decode the first image of an encoded file at its full size, and check that nothing is missing, as `decode_any` does.

    Raises Rejected, also if all pixels have one color: nothing can be learned from such an image."""
    decoded = decode_any(data)
    first = decoded.pixels[0, 0]
    if all((row == first).all() for row in decoded.pixels):
        frames = _among_frames(data[leading_blanks(data) :])
        raise Rejected("one_color", f"#{bytes(first).hex()} all over{frames}")
    return decoded


def _among_frames(data: bytes) -> str:
    _, count = kind_and_frames(data)
    return f", the first of {count} frames" if count > 1 else ""


def decode_any(data: bytes) -> DecodedImage:
    """Decode the first image of an encoded file at its full size, whatever its colors, and check that nothing is missing.

    Decoders fill in missing pixels and raise no error. Raises Rejected."""
    data = data[leading_blanks(data) :]
    if pnm.is_pnm(data):
        composite = decode_pnm(data)
        return DecodedImage(np.asarray(composite.image), composite.notes)
    image = open_checked(data)
    if image.format in ("JPEG", "MPO"):
        pixels = _decode_jpeg_strictly(data)
        if pixels is not None and image.mode in ("L", "RGB"):
            return DecodedImage(turn_array(pixels, orientation(image)))
    composite = decode_opened(image, data)
    check_png_rows(image, data)
    return DecodedImage(np.asarray(composite.image), composite.notes)


def _decode_jpeg_strictly(data: bytes) -> RGBArray | None:
    """Decode a JPEG without turning it; return None for other flaws than a missing end, which a decoder can repair."""
    try:
        pixels: RGBArray = simplejpeg.decode_jpeg(data, "RGB", strict=True)
        return pixels
    except ValueError as error:
        if "premature end" in str(error) or "found marker 0xd9" in str(error) or _ends_early(data):
            raise Rejected("truncated", "its data ends before the image does") from error
        return None


def _ends_early(data: bytes) -> bool:
    """Return True if more data before the end of a JPEG changes its pixels: other flaws hide a missing end."""
    end = jpeg_end(data) - len(JPEG_END)
    files = data, data[:end] + NOISE + data[end:]
    with contextlib.suppress(Rejected), as_rejection(data):
        original, with_more = (np.asarray(Image.open(io.BytesIO(file), formats=OPENED)) for file in files)
        return bool((original != with_more).any())
    return False


def fitted_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return (width, height) of the shrunk image: its short side is at least 0.95 `side` long.

    An image up to half as large again keeps its size: resampling it costs more than keeping it. A larger one shrinks by
    eighths if one of them falls into the same range, else to `side`. No image grows."""
    short = min(width, height)
    least, most = LEAST * side, MOST * side
    if short <= most:
        return width, height
    for eighths in EIGHTHS:
        if least <= _eighths(short, eighths) <= most:
            return _eighths(width, eighths), _eighths(height, eighths)
    return _rounded(width * side, short), _rounded(height * side, short)


def _eighths(length: int, eighths: int) -> int:
    return (length * eighths + 7) // 8


def _rounded(a: int, b: int) -> int:
    return (2 * a + b) // (2 * b)


def decode_shrunk(data: bytes, side: int) -> RGBArray:
    """Decode the first image of a file at its `fitted_size`; missing pixels are not looked for. Raises Rejected."""
    data = data[leading_blanks(data) :]
    if _is_plain_jpeg(data):
        with contextlib.suppress(ValueError):  # below, Pillow names the error or reads the file after all
            return _shrink_jpeg(data, side)
    if pnm.is_pnm(data):
        return _shrink(decode_pnm(data).image, side)
    image = open_checked(data)
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        with contextlib.suppress(ValueError):
            return turn_array(_shrink_jpeg(data, side), orientation(image))
    return _shrink(decode_opened(image, data).image, side)


def _is_plain_jpeg(data: bytes) -> bool:
    """Return True for a JPEG that ends as one and has no EXIF, so needs no turning: most need no other check."""
    whole = data.startswith(JPEG) and data.endswith(JPEG_END) and len(data) <= MAX_BYTES
    return whole and data.find(JPEG_EXIF, 0, data.find(JPEG_SCAN)) < 0


def _shrink_jpeg(data: bytes, side: int) -> RGBArray:
    """Decode a JPEG at the nearest larger scale of its decoder, and resample it to its `fitted_size`."""
    height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
    if colors not in ("YCbCr", "Gray"):
        raise ValueError(f"{colors} is left to Pillow")
    check_size(width, height)
    size = fitted_size(width, height, side)
    eighths = next((e for e in EIGHTHS if _eighths(width, e) >= size[0] and _eighths(height, e) >= size[1]), 8)
    least = {"min_width": _eighths(width, eighths), "min_height": _eighths(height, eighths)}
    pixels: RGBArray = simplejpeg.decode_jpeg(data, "RGB", **least, strict=False)
    return pixels if pixels.shape[1::-1] == size else np.asarray(_resize(Image.fromarray(pixels), size))


def _shrink(image: Image.Image, side: int) -> RGBArray:
    return np.asarray(_resize(image, fitted_size(*image.size, side)))


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Averaging whole blocks first is invisible, and takes much less time on a large image.
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
