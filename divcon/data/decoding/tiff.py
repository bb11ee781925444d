"""TIFF in all the arrangements that are read, as plain RGB: what Pillow reads wrong is laid out for it anew."""

import io

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, UnidentifiedImageError

from . import backgrounds, deep_color, tiff_directory, tiff_rewrite
from .formats import OPENED
from .rejection import Rejected
from .tiff_directory import Tiff
from .tone_range import Deep, eight_bits

NOISE = b"\x7d\xf7\xdf\x00\x17\xdf" * 100  # runs of two, and ends of lines, as a fax has them


def opened(directory: Tiff) -> Image.Image:
    """The file with its header read, once that has been held against what is there."""
    tiff_directory.check(directory)
    try:
        return Image.open(io.BytesIO(_classic(directory)), formats=["TIFF"])
    except UnidentifiedImageError as error:
        raise Rejected("unsupported_mode", directory.said) from error


def flat(data: bytes) -> backgrounds.Flat:
    """The first picture, upright and in RGB."""
    directory = tiff_directory.directory(data)
    if directory.is_planar:
        return _of_planes(directory)
    if directory.bits > 8 and directory.photometric in (tiff_directory.WHITE_IS_ZERO, tiff_directory.BLACK_IS_ZERO):
        return _deep_gray(directory)
    if directory.bits == 16 and directory.photometric == tiff_directory.RGB:
        return _deep(deep_color.samples(_classic(directory)), directory)
    return _common(directory)


def _classic(directory: Tiff) -> bytes:
    """The file as Pillow knows it: of a BigTIFF one that is no longer big, of 16 bits gray one whose black is 0, and of one
    that begins with a thumbnail what comes behind it."""
    is_gray = directory.photometric == tiff_directory.WHITE_IS_ZERO and directory.bits == 16 and not directory.is_planar
    if is_gray:
        return tiff_rewrite.rewritten(directory, {tiff_directory.PHOTOMETRIC: [tiff_directory.BLACK_IS_ZERO]})
    if directory.is_planar:  # whose planes are read one by one
        return tiff_rewrite.plane(directory, 0)
    unknown = (directory.is_big and directory.order == ">") or not directory.is_first
    return tiff_rewrite.rewritten(directory, {}) if unknown else directory.data


def _read(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=OPENED)
    image.load()  # which turns it upright
    return image


def _common(directory: Tiff) -> backgrounds.Flat:
    """What Pillow reads in 8 bits or fewer."""
    image = _read(_classic(directory))
    if directory.compression in tiff_directory.FAX and _ends_early(image, directory):
        raise Rejected("truncated", "its data ends before the picture does")
    colors = directory.tags.get(tiff_directory.COLORS, ())
    if image.mode == "P" and len(colors) and max(colors) < 256:  # which should have 16 bits; some programs write 8
        n = len(colors) // 3
        image.putpalette([colors[color * n + i] for i in range(n) for color in range(3)])
    if image.mode == "La":
        image = image.convert("LA")
    return backgrounds.flat(image.convert("RGBA") if image.mode in ("LA", "PA") else image)


def _ends_early(image: Image.Image, directory: Tiff) -> bool:
    """Of a fax, whose decoder leaves what is missing white: whether more data behind it would show."""
    with_more = _read(tiff_rewrite.extended(directory, NOISE))
    return bool((np.asarray(image) != np.asarray(with_more)).any())


def _deep_gray(directory: Tiff) -> backgrounds.Flat:
    return _deep(np.asarray(_read(_classic(directory))).astype(np.uint16)[:, :, None], directory)


def _of_planes(directory: Tiff) -> backgrounds.Flat:
    """Each plane read by itself; beyond the colors only a plane that is declared to be transparency is looked at."""
    colors = tiff_directory.READ[directory.photometric][0]
    wanted = colors + bool(_transparency(directory))
    planes = [np.asarray(_read(tiff_rewrite.plane(directory, n))).astype(np.uint16) for n in range(wanted)]
    values = np.stack(planes, axis=2)
    if directory.bits == 16 and directory.photometric != tiff_directory.CMYK:
        return _deep(values, directory)
    layers = (values >> (directory.bits - 8)).astype(np.uint8) if directory.bits >= 8 else values.astype(np.uint8)
    if directory.photometric == tiff_directory.WHITE_IS_ZERO:
        layers[:, :, 0] = 255 - layers[:, :, 0]
    return backgrounds.flat(_image(layers, directory))


def _image(layers: UInt8[np.ndarray, "h w n"], directory: Tiff) -> Image.Image:
    if directory.photometric == tiff_directory.CMYK:
        return Image.fromarray(layers[:, :, :4], "CMYK")
    if not _transparency(directory):
        return Image.fromarray(layers[:, :, 0] if layers.shape[2] == 1 else layers)
    color = "L" if layers.shape[2] == 2 else "RGB"
    mode = color + ("a" if _transparency(directory) == tiff_directory.PREMULTIPLIED else "A")
    return Image.fromarray(layers, mode).convert(f"{color}A").convert("RGBA")


def _transparency(directory: Tiff) -> int:
    """What the first sample behind the colors is: 1 or 2 transparency, 0 nothing that is known."""
    extra = directory.one(tiff_directory.EXTRA, 0)
    return extra if extra in (tiff_directory.PREMULTIPLIED, tiff_directory.UNASSOCIATED) else 0


def _deep(values: UInt16[np.ndarray, "h w n"], directory: Tiff) -> backgrounds.Flat:
    """16 bits, with what the header says of them."""
    colors = tiff_directory.READ[directory.photometric][0]
    holds = 2**directory.bits - 1
    most = directory.one(tiff_directory.MOST, directory.one(tiff_directory.SIGNED_MOST, 0))
    color, alpha = values[:, :, :colors], None
    if values.shape[2] > colors and (_transparency(directory) or tiff_directory.EXTRA not in directory.tags):
        share = values[:, :, colors]
        if _transparency(directory) == tiff_directory.PREMULTIPLIED:
            color = _divided(color, share)
        alpha = deep_color.eight(share)
    white = most if 0 < most < holds else holds
    return eight_bits(Deep(color, white, alpha, directory.photometric == tiff_directory.WHITE_IS_ZERO, holds))


def _divided(color: UInt16[np.ndarray, "h w n"], share: UInt16[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w n"]:
    """Colors that were multiplied by their share, as they were before."""
    whole = color.astype(np.uint32) * 65535 // np.maximum(share, 1)[:, :, None].astype(np.uint32)
    divided: UInt16[np.ndarray, "h w n"] = np.minimum(whole, 65535).astype(np.uint16)
    return divided
