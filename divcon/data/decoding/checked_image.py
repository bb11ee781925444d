"""Image files opened and decoded by Pillow, with the checks that Pillow leaves out."""

import io

from PIL import Image

from . import backgrounds, bmp, pnm, sixteen_bit, tiff, tiff_directory
from .backgrounds import Composite
from .formats import MISSING_DECODERS, OPENED, UNREAD, foreign_format, is_webp
from .headers import (
    PNG,
    PNG_END,
    is_isobmff,
    isobmff_is_cut,
    isobmff_size,
    jpeg_end,
    jpeg_frame,
    png_rows_are_missing,
    webp_size,
)
from .orientation import orientation, turn_image
from .rejection import Rejected, as_rejection
from .tiff_tags import Tag
from .tone_range import to_8_bits

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 89_000_000
MIN_SIDE = 8
MAX_ASPECT = 32

APPLE_CHUNK = b"CgBI"
OPAQUE = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
MAY_BE_TRANSPARENT = {"1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBa"}


def open_checked(data: bytes) -> Image.Image:
    """Read the header of a file, and raise Rejected for any fault that the header shows. No pixels are decoded."""
    check_bytes(data)
    if is_webp(data):  # Pillow takes the memory for the whole canvas when it opens one
        check_size(*webp_size(data))
    if is_isobmff(data):
        _check_isobmff(data)
    with as_rejection(data):
        image = _open(data)
        check_size(*image.size)
        _check_ends(image, data)
        return image


def decode_opened(image: Image.Image, data: bytes) -> Composite:
    """Decode all pixels of an opened file, in RGB and upright."""
    with as_rejection(data):
        if image.format == "TIFF":
            return tiff.decode(data)
        if image.format == "BMP":
            bmp.load(image, data)
        image.load()
        composite = _to_rgb(image, data)
        return composite._replace(image=turn_image(composite.image, orientation(image)))


def decode_pnm(data: bytes) -> Composite:
    """Check and decode a PBM, PGM or PPM."""
    check_bytes(data)
    with as_rejection(data):
        header = pnm.read_header(data)
        check_size(header.width, header.height)
        return pnm.decode(data, header)


def check_bytes(data: bytes) -> None:
    """Raise Rejected if a file is empty or too large."""
    if not data:
        raise Rejected("empty_file")
    if len(data) > MAX_BYTES:
        raise Rejected("file_too_large", f"{len(data):,} bytes")


def check_size(width: int, height: int) -> None:
    """Raise Rejected if an image has too many pixels, is too long for its width, or is too small."""
    size = f"{width} x {height}"
    if width * height > MAX_PIXELS:
        raise Rejected("too_many_pixels", size)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Rejected("extreme_aspect", size)
    if min(width, height) < MIN_SIDE:
        raise Rejected("too_small", size)


def check_png_rows(image: Image.Image, data: bytes) -> None:
    """Raise Rejected if a PNG that was decoded has fewer rows than its header says."""
    if image.format == "PNG" and png_rows_are_missing(data):
        raise Rejected("truncated", "it has fewer rows than it says")


def _open(data: bytes) -> Image.Image:
    if data.startswith(b"BM"):
        return bmp.open_image(data)
    if data.startswith(PNG) and data[12:16] == APPLE_CHUNK:
        raise Rejected("unsupported_mode", "a PNG as Apple packs it into applications (CgBI)")
    if not tiff_directory.is_tiff(data):
        return Image.open(io.BytesIO(data), formats=OPENED)
    directory = tiff_directory.read_directory(data)
    if directory.has_size:
        check_size(directory.value(Tag.WIDTH, 0), directory.value(Tag.HEIGHT, 0))
    return tiff.open_image(directory)


def _check_isobmff(data: bytes) -> None:
    """Check an AVIF or HEIC: its decoder would take the memory first, or raise an error of its own."""
    width, height = isobmff_size(data)
    name = foreign_format(data)
    if name in UNREAD and width * height > MAX_PIXELS:
        raise Rejected("too_many_pixels", f"{width} x {height}")
    if name in UNREAD and name not in MISSING_DECODERS and isobmff_is_cut(data):
        raise Rejected("truncated", "its data ends before the image does")


def _check_ends(image: Image.Image, data: bytes) -> None:
    """Check what Pillow ignores: the checksums of a PNG, and the ends of PNG and JPEG."""
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
        if PNG_END not in data:
            raise Rejected("truncated", "its end is missing")
    if image.format in ("JPEG", "MPO"):
        if (frame := jpeg_frame(data)) and not frame.is_common:
            raise Rejected("unsupported_mode", frame.description)
        if not jpeg_end(data):
            raise Rejected("truncated", "its end is missing")


def _to_rgb(image: Image.Image, data: bytes) -> Composite:
    """Convert pixels of any mode to RGB without transparency."""
    if sixteen_bit.is_png_16(data):
        return to_8_bits(sixteen_bit.read_png_16(image, data))
    if image.has_transparency_data and image.mode in MAY_BE_TRANSPARENT:
        _scale_transparent_gray(image, data)
        return backgrounds.composite(image.convert("RGBA"))
    if image.mode in OPAQUE:
        return Composite(image.convert("RGB"))
    raise Rejected("unsupported_mode", image.mode)


def _scale_transparent_gray(image: Image.Image, data: bytes) -> None:
    """Convert the gray that a PNG of 2 or 4 bits calls transparent to 8 bits, as Pillow converts the pixels."""
    if data.startswith(PNG) and data[24] in (2, 4) and image.mode == "L":
        image.info["transparency"] *= 255 // (2 ** data[24] - 1)
