"""Values of up to 16 bits in 8: by the range that the picture uses, where that is far less than what its type could hold.

A camera of 12 bits writes 0..4,095 into samples that hold 65,535: scaled by those, it is nearly black. A thermal camera
writes 29,000..31,000: scaled by those, it is one gray. So what is black and white follows from the header and from the
picture's own values, and from nothing else: it is the same wherever it is decoded.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8, UInt16
from PIL import Image

from . import backgrounds

DEPTHS = (255, 1023, 4095, 16383, 65535)  # the whites of 8, 10, 12, 14 and 16 bits
FAR_BELOW = 4  # as a part of white: two bits are not used
SHADES = 255  # the least width of a window that is not near black: in a narrower one, noise would become a picture
PER_MILLE = 1  # of the values, at either end, that do not count: a hot pixel hides nothing
ROWS = 256  # that are in work at a time

Values = UInt16[np.ndarray, "h w colors"]
Counts = Int64[np.ndarray, "65536"]


class Deep(NamedTuple):
    """A picture in 16 bits, gray (one color) or RGB: `white` is what its header calls white, `holds` what its type could."""

    values: Values
    white: int = 65535
    alpha: UInt8[np.ndarray, "h w"] | None = None
    white_is_zero: bool = False
    holds: int = 65535


def eight_bits(deep: Deep) -> backgrounds.Flat:
    """The picture in RGB, `range_stretched` where its range was."""
    low, high = window(_counts(deep), deep.white)
    shades = _shades(low, high)
    flat = backgrounds.flat(_layered(_shaded(deep.values, 255 - shades if deep.white_is_zero else shades), deep.alpha))
    stretched = (low, high) != (0, deep.holds)
    return flat._replace(notes=(*flat.notes, *[f"range_stretched={low}-{high}"] * stretched))


def window(counts: Counts, white: int) -> tuple[int, int]:
    """The values that become black and white: 0 and white, or the least depth that holds all values, or the picture's
    own 0.1 % and 99.9 % where three quarters of even that depth are not used between them."""
    present = np.flatnonzero(counts)
    least, most = int(present[0]), int(present[-1])
    white = white if most <= white else 65535
    depth = min(white, next(depth for depth in DEPTHS if depth >= most))
    low, high = _rank(counts, PER_MILLE), _rank(counts, 1000 - PER_MILLE)
    is_dark = FAR_BELOW * high < depth
    low, high = (low, high) if low < high else (least, most)
    if least == most or not (is_dark or FAR_BELOW * (high - low) < depth):
        return 0, depth
    return (low, high) if is_dark else _widened(low, high, depth)


def _widened(low: int, high: int, depth: int) -> tuple[int, int]:
    """A window with at least one value for each of the shades there are, so that none is spread over several."""
    width = max(high - low, min(SHADES, depth))
    low = min(max(0, (low + high - width) // 2), depth - width)
    return low, low + width


def _rank(counts: Counts, per_mille: int) -> int:
    """The value that so many thousandths of all values do not exceed."""
    total = np.cumsum(counts)
    return int(np.searchsorted(1000 * total, per_mille * total[-1]))


def _counts(deep: Deep) -> Counts:
    """How many samples have each value: of what shows, if anything does."""
    counts = np.zeros(65536, np.int64)
    shows = None if deep.alpha is None or _is_faint(deep.alpha) else deep.alpha > 0
    for row in range(0, len(deep.values), ROWS):
        block = deep.values[row : row + ROWS]
        counts += np.bincount((block if shows is None else block[shows[row : row + ROWS]]).ravel(), minlength=65536)
    return counts


def _is_faint(alpha: UInt8[np.ndarray, "h w"]) -> bool:
    return backgrounds.is_faint(np.array(Image.fromarray(alpha).histogram(), np.int64))


def _shades(low: int, high: int) -> UInt8[np.ndarray, "65536"]:
    """What each value becomes."""
    above = np.clip(np.arange(65536, dtype=np.int64) - low, 0, high - low)
    return ((above * 255 + (high - low) // 2) // (high - low)).astype(np.uint8)


def _shaded(values: Values, shades: UInt8[np.ndarray, "65536"]) -> UInt8[np.ndarray, "h w 3"]:
    picture = np.empty((*values.shape[:2], 3), np.uint8)
    for row in range(0, len(values), ROWS):  # the places of all values at once would take eight bytes each
        picture[row : row + ROWS] = shades[values[row : row + ROWS]]
    return picture


def _layered(picture: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"] | None) -> Image.Image:
    image = Image.fromarray(picture)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image
