"""TIFF in all arrangements that are read, as RGB. Files that Pillow would read wrong are rewritten for it first."""

import io

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, UnidentifiedImageError

from . import backgrounds, sixteen_bit, tiff_check, tiff_rewrite
from .backgrounds import Composite
from .formats import OPENED
from .rejection import Rejected
from .tiff_directory import TiffDirectory, read_directory
from .tiff_tags import BLACK_IS_ZERO, CMYK, FAX, PREMULTIPLIED, READ, RGB, UNASSOCIATED, WHITE_IS_ZERO, Tag
from .tone_range import Image16, to_8_bits

NOISE = b"\x7d\xf7\xdf\x00\x17\xdf" * 100  # runs of two, and ends of lines, as in a fax


def open_image(directory: TiffDirectory) -> Image.Image:
    """Check the directory against the file, and read the header."""
    tiff_check.check(directory)
    try:
        return Image.open(io.BytesIO(_for_pillow(directory)), formats=["TIFF"])
    except UnidentifiedImageError as error:
        raise Rejected("unsupported_mode", directory.description) from error


def decode(data: bytes) -> Composite:
    """Return the first image that is no thumbnail, upright and in RGB."""
    directory = read_directory(data)
    if directory.is_planar:
        return _decode_planes(directory)
    if directory.bits > 8 and directory.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        gray = np.asarray(_read(_for_pillow(directory))).astype(np.uint16)
        return _decode_16(gray[:, :, None], directory)
    if directory.bits == 16 and directory.photometric == RGB:
        return _decode_16(sixteen_bit.color_samples(_for_pillow(directory)), directory)
    return _decode_8(directory)


def _for_pillow(directory: TiffDirectory) -> bytes:
    """Return the file as Pillow reads it right: 16 bits of gray with black at 0, one plane, a classic TIFF with the
    image in its first directory."""
    is_gray = directory.photometric == WHITE_IS_ZERO and directory.bits == 16 and not directory.is_planar
    if is_gray:
        return tiff_rewrite.rewrite(directory, {Tag.PHOTOMETRIC: [BLACK_IS_ZERO]})
    if directory.is_planar:
        return tiff_rewrite.one_plane(directory, 0)
    big_endian_big = directory.layout.is_big and directory.layout.order == ">"
    return tiff_rewrite.rewrite(directory, {}) if big_endian_big or not directory.is_first else directory.data


def _read(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=OPENED)
    image.load()  # Pillow also turns a TIFF upright here
    return image


def _decode_8(directory: TiffDirectory) -> Composite:
    """Decode an image that Pillow reads in 8 bits or fewer."""
    image = _read(_for_pillow(directory))
    if directory.compression in FAX and _ends_early(image, directory):
        raise Rejected("truncated", "its data ends before the image does")
    colors = directory.tags.get(Tag.COLORS, ())
    if image.mode == "P" and len(colors) and max(colors) < 256:  # colors have 16 bits; some programs write 8
        count = len(colors) // 3
        image.putpalette([colors[color * count + i] for i in range(count) for color in range(3)])
    if image.mode == "La":
        image = image.convert("LA")
    return backgrounds.composite(image.convert("RGBA") if image.mode in ("LA", "PA") else image)


def _ends_early(image: Image.Image, directory: TiffDirectory) -> bool:
    """Return True if more data would change the image. The decoder of a fax leaves missing rows white."""
    with_more = _read(tiff_rewrite.with_more_data(directory, NOISE))
    return bool((np.asarray(image) != np.asarray(with_more)).any())


def _decode_planes(directory: TiffDirectory) -> Composite:
    """Decode each plane alone: those of the colors, and the first behind them if it is declared to be alpha."""
    count = READ[directory.photometric][0] + bool(_alpha_kind(directory))
    planes = [np.asarray(_read(tiff_rewrite.one_plane(directory, n))).astype(np.uint16) for n in range(count)]
    values = np.stack(planes, axis=2)
    if directory.bits == 16 and directory.photometric != CMYK:
        return _decode_16(values, directory)
    pixels = (values >> (directory.bits - 8)).astype(np.uint8) if directory.bits >= 8 else values.astype(np.uint8)
    if directory.photometric == WHITE_IS_ZERO:
        pixels[:, :, 0] = 255 - pixels[:, :, 0]
    return backgrounds.composite(_to_image(pixels, directory))


def _to_image(pixels: UInt8[np.ndarray, "h w n"], directory: TiffDirectory) -> Image.Image:
    if directory.photometric == CMYK:
        return Image.fromarray(pixels[:, :, :4], "CMYK")
    if not _alpha_kind(directory):
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    color = "L" if pixels.shape[2] == 2 else "RGB"
    mode = color + ("a" if _alpha_kind(directory) == PREMULTIPLIED else "A")
    return Image.fromarray(pixels, mode).convert(f"{color}A").convert("RGBA")


def _alpha_kind(directory: TiffDirectory) -> int:
    """Return PREMULTIPLIED or UNASSOCIATED if the first sample behind the colors is alpha, else 0."""
    extra = directory.value(Tag.EXTRA, 0)
    return extra if extra in (PREMULTIPLIED, UNASSOCIATED) else 0


def _decode_16(values: UInt16[np.ndarray, "h w n"], directory: TiffDirectory) -> Composite:
    """Convert samples of more than 8 bits, with the white and the alpha that the header declares."""
    colors = READ[directory.photometric][0]
    largest = 2**directory.bits - 1
    declared = directory.value(Tag.MAX_SAMPLE, directory.value(Tag.SIGNED_MAX_SAMPLE, 0))
    color, alpha = values[:, :, :colors], None
    if values.shape[2] > colors and (_alpha_kind(directory) or Tag.EXTRA not in directory.tags):
        alpha_16 = values[:, :, colors]
        if _alpha_kind(directory) == PREMULTIPLIED:
            color = _divide_by_alpha(color, alpha_16)
        alpha = sixteen_bit.alpha_to_8_bits(alpha_16)
    white = declared if 0 < declared < largest else largest
    return to_8_bits(Image16(color, white, alpha, directory.photometric == WHITE_IS_ZERO, largest))


def _divide_by_alpha(
    color: UInt16[np.ndarray, "h w n"], alpha: UInt16[np.ndarray, "h w"]
) -> UInt16[np.ndarray, "h w n"]:
    """Return the colors before they were multiplied by alpha."""
    whole = color.astype(np.uint32) * 65535 // np.maximum(alpha, 1)[:, :, None].astype(np.uint32)
    divided: UInt16[np.ndarray, "h w n"] = np.minimum(whole, 65535).astype(np.uint16)
    return divided
