"""Color images with samples of 16 bits. Pillow gives 8 of them, so it reads the file twice: high bytes, then low bytes."""

import io
import sys
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from .formats import OPENED
from .headers import PNG
from .tone_range import Image16

Samples = UInt16[np.ndarray, "h w n"]
# Pillow's raw modes of 16 bits end with the byte order: B is big, L is little, N is native. Told the first letter
# of these instead, it takes the high byte of each sample; told the second, the low byte.
BYTE_ORDERS = {"B": "BL", "L": "LB", "N": "LB" if sys.byteorder == "little" else "BL"}
GRAY, ALPHA = 0, 4  # color type of a PNG: gray; the bit that says alpha


def is_png_16(data: bytes) -> bool:
    return data.startswith(PNG) and data[24] == 16


def read_png_16(image: Image.Image, data: bytes) -> Image16:
    """Read a PNG with samples of 16 bits, in gray or color; `image` is the opened file."""
    color_type = data[25]
    if color_type == GRAY:
        values = np.asarray(image).astype(np.uint16)[:, :, None]
    else:
        values = _gray_and_alpha(data) if color_type == ALPHA else color_samples(data)
    if color_type & ALPHA:
        return Image16(values[:, :, :-1], alpha=alpha_to_8_bits(values[:, :, -1]))
    clear = image.info.get("transparency")
    alpha = None if clear is None else np.where((values == np.array(clear)).all(axis=2), 0, 255).astype(np.uint8)
    return Image16(values, alpha=alpha)


def color_samples(data: bytes) -> Samples:
    """Return the samples of an RGB or RGBA file, as stored."""
    high = _bytes_of_samples(data, 0).astype(np.uint16)
    high <<= 8
    high |= _bytes_of_samples(data, 1)
    return high


def alpha_to_8_bits(alpha: UInt16[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    return ((alpha.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _gray_and_alpha(data: bytes) -> Samples:
    """Read two samples of two bytes as four samples of one byte."""
    four = _read_as(data, lambda _: "RGBA").astype(np.uint16)
    return four[:, :, ::2] << 8 | four[:, :, 1::2]


def _bytes_of_samples(data: bytes, which: int) -> UInt8[np.ndarray, "h w n"]:
    """Return the high byte (0) or the low byte (1) of each sample."""
    return _read_as(data, lambda mode: mode[:-1].replace("RGBa", "RGBA") + BYTE_ORDERS[mode[-1]][which])


def _read_as(data: bytes, raw_mode: Callable[[str], str]) -> UInt8[np.ndarray, "h w n"]:
    """Decode the file with another raw mode of Pillow, computed from the right one."""
    image = Image.open(io.BytesIO(data), formats=OPENED)
    image.tile = [tile._replace(args=_with_raw_mode(tile.args, raw_mode)) for tile in image.tile]
    image.load()
    return np.asarray(image)


def _with_raw_mode(args: object, raw_mode: Callable[[str], str]) -> str | tuple[object, ...]:
    """Change the raw mode in the arguments of a Pillow decoder: a string, or the first of several."""
    if isinstance(args, str):
        return raw_mode(args)
    assert isinstance(args, tuple)
    return raw_mode(args[0]), *args[1:]
