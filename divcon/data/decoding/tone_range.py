"""Conversion of 16 bits to 8, scaled by the range that the image uses if that is far less than its type can hold.

A camera of 12 bits writes 0..4,095 into samples that hold 65,535: scaled by 65,535, the image is nearly black. A thermal
camera writes 29,000..31,000: scaled so, the image is one gray. Black and white follow from the header and from the
image's own values alone, so they are the same on every machine.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8, UInt16
from PIL import Image

from . import backgrounds
from .backgrounds import Composite

DEPTHS = (255, 1023, 4095, 16383, 65535)  # the largest values of 8, 10, 12, 14 and 16 bits
FAR_BELOW = 4  # a range is stretched if it is less than white divided by this: two bits are unused
LEAST_WIDTH = 255  # of a range that is not near black: a narrower one would turn noise into an image
PER_MILLE = 1  # of the values, at each end, that do not count: a hot pixel hides nothing
ROWS = 256  # rows that are converted together

Values = UInt16[np.ndarray, "h w colors"]
Counts = Int64[np.ndarray, "65536"]


class Image16(NamedTuple):
    """An image in 16 bits, gray (one color) or RGB.

    `white` is the value that the header calls white; `largest` is the largest value that the type can hold."""

    values: Values
    white: int = 65535
    alpha: UInt8[np.ndarray, "h w"] | None = None
    white_is_zero: bool = False
    largest: int = 65535


def to_8_bits(image: Image16) -> Composite:
    """Convert an image to RGB of 8 bits, with the note `range_stretched` where its range was changed."""
    low, high = window(_count_values(image), image.white)
    levels = _levels(low, high)
    pixels = _look_up(image.values, 255 - levels if image.white_is_zero else levels)
    composite = backgrounds.composite(_with_alpha(pixels, image.alpha))
    stretched = (low, high) != (0, image.largest)
    return composite._replace(notes=(*composite.notes, *[f"range_stretched={low}-{high}"] * stretched))


def window(counts: Counts, white: int) -> tuple[int, int]:
    """Return the values that become black and white; `counts` has the number of samples of each value.

    These are 0 and white, or 0 and the least depth that holds all values. If three quarters of even that depth are
    unused, they are the image's own 0.1 % and 99.9 %."""
    present = np.flatnonzero(counts)
    least, most = int(present[0]), int(present[-1])
    white = white if most <= white else 65535
    depth = min(white, next(depth for depth in DEPTHS if depth >= most))
    low, high = _quantile(counts, PER_MILLE), _quantile(counts, 1000 - PER_MILLE)
    is_dark = FAR_BELOW * high < depth
    low, high = (low, high) if low < high else (least, most)
    if least == most or not (is_dark or FAR_BELOW * (high - low) < depth):
        return 0, depth
    return (low, high) if is_dark else _widen(low, high, depth)


def _widen(low: int, high: int, depth: int) -> tuple[int, int]:
    """Widen a range until it has a value for each of the 256 levels."""
    width = max(high - low, min(LEAST_WIDTH, depth))
    low = min(max(0, (low + high - width) // 2), depth - width)
    return low, low + width


def _quantile(counts: Counts, per_mille: int) -> int:
    """Return the least value that so many thousandths of the samples do not exceed."""
    total = np.cumsum(counts)
    return int(np.searchsorted(1000 * total, per_mille * total[-1]))


def _count_values(image: Image16) -> Counts:
    """Count the samples of each value, without transparent pixels if anything else shows."""
    counts = np.zeros(65536, np.int64)
    opaque = None if image.alpha is None or _is_faint(image.alpha) else image.alpha > 0
    for row in range(0, len(image.values), ROWS):
        block = image.values[row : row + ROWS]
        counts += np.bincount((block if opaque is None else block[opaque[row : row + ROWS]]).ravel(), minlength=65536)
    return counts


def _is_faint(alpha: UInt8[np.ndarray, "h w"]) -> bool:
    return backgrounds.is_faint(np.array(Image.fromarray(alpha).histogram(), np.int64))


def _levels(low: int, high: int) -> UInt8[np.ndarray, "65536"]:
    """Return the level, 0 to 255, of each value."""
    above = np.clip(np.arange(65536, dtype=np.int64) - low, 0, high - low)
    return ((above * 255 + (high - low) // 2) // (high - low)).astype(np.uint8)


def _look_up(values: Values, levels: UInt8[np.ndarray, "65536"]) -> UInt8[np.ndarray, "h w 3"]:
    pixels = np.empty((*values.shape[:2], 3), np.uint8)
    for row in range(0, len(values), ROWS):  # numpy needs eight bytes an index: not for all values at once
        pixels[row : row + ROWS] = levels[values[row : row + ROWS]]
    return pixels


def _with_alpha(pixels: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"] | None) -> Image.Image:
    image = Image.fromarray(pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image
