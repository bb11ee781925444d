"""Samples of 16 bits in color, which Pillow gives in 8: it is asked twice, for their high bytes and for their low ones."""

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from .formats import OPENED
from .headers import PNG
from .tone_range import Deep

Samples = UInt16[np.ndarray, "h w n"]
# Of which the high byte of a sample is taken, and of which the low one.
ORDERS = {"B": "BL", "L": "LB", "N": "LB" if sys.byteorder == "little" else "BL"}
GRAY, COLOR, ALPHA = 0, 2, 4  # bits of a PNG's kind


def is_deep_png(data: bytes) -> bool:
    return data.startswith(PNG) and data[24] == 16


def deep_png(image: Image.Image, data: bytes) -> Deep:
    """A PNG of 16 bits, in whatever colors."""
    kind = data[25]
    if kind == GRAY:
        values = np.asarray(image).astype(np.uint16)[:, :, None]
    else:
        values = gray_and_alpha(data) if kind == ALPHA else samples(data)
    if kind & ALPHA:
        return Deep(values[:, :, :-1], alpha=eight(values[:, :, -1]))
    clear = image.info.get("transparency")
    alpha = None if clear is None else np.where((values == np.array(clear)).all(axis=2), 0, 255).astype(np.uint8)
    return Deep(values, alpha=alpha)


def samples(data: bytes) -> Samples:
    """RGB, or RGBA as it lies there, of a file whose samples have 16 bits."""
    high = _half(data, 0).astype(np.uint16)
    high <<= 8
    high |= _half(data, 1)
    return high


def gray_and_alpha(data: bytes) -> Samples:
    """Of a PNG: two samples of two bytes each are read as if they were four of one."""
    bytes_ = _read(data, lambda _: "RGBA").astype(np.uint16)
    return bytes_[:, :, ::2] << 8 | bytes_[:, :, 1::2]


def eight(samples: UInt16[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """A share of 65,535 as one of 255."""
    return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _half(data: bytes, low: int) -> UInt8[np.ndarray, "h w n"]:
    """The high byte of each sample, or its low one."""
    return _read(data, lambda raw: raw[:-1].replace("RGBa", "RGBA") + ORDERS[raw[-1]][low])


def _read(data: bytes, mode: Callable[[str], str]) -> UInt8[np.ndarray, "h w n"]:
    """The picture as Pillow reads it when it is told another arrangement of bytes, made of its own."""
    image = Image.open(io.BytesIO(data), formats=OPENED)
    image.tile = [tile._replace(args=_args(tile.args, mode)) for tile in image.tile]
    image.load()
    return np.asarray(image)


def _args(args: Any, mode: Callable[[str], str]) -> Any:
    return mode(args) if isinstance(args, str) else (mode(args[0]), *args[1:])
