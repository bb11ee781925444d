"""The background behind a transparent image: white, or black where too little of the image would show on white."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

VISIBLE = 32  # of 255, in any color: a pixel that differs less from the background does not show
DIFFERENT = 8  # of 255: codecs with losses change one color by less
HIDDEN_SHARE = (
    10  # a hidden image differs in one pixel of this many; the colors that codecs spread around an icon, in fewer
)
SEEN_SHARE = 100  # an image is visible if one pixel of this many shows
ENOUGH_SHARE = 4  # white is right, whatever shows on black, if one part of this many of what is there shows on it
ROWS = 256  # rows that are compared together

RGBAArray = UInt8[np.ndarray, "h w 4"]


class Composite(NamedTuple):
    """An image in RGB without transparency, and notes on how it was made."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def composite(image: Image.Image) -> Composite:
    """Put an image on its background and return it in RGB.

    The alpha of an image in RGBA is ignored where nearly nothing would show: some programs leave the fourth byte of a
    pixel 0, or write 1 instead of 255."""
    if image.mode != "RGBA":
        return Composite(image.convert("RGB"))
    if _alpha_is_a_mistake(image):
        return Composite(image.convert("RGB"), ("alpha_ignored",))
    white = _shows_on_white(image)
    background = Image.new("RGB", image.size, "white" if white else "black")
    background.paste(image, mask=image.getchannel("A"))
    return Composite(background, () if white else ("ground=black",))


def is_faint(alpha_counts: Int64[np.ndarray, "256"]) -> bool:
    """Return True if less than a hundredth of an image can show on any background.

    `alpha_counts` has the number of pixels of each alpha. A pixel with an alpha below VISIBLE differs by less than
    VISIBLE from its background, whatever its color."""
    return bool(SEEN_SHARE * alpha_counts[VISIBLE:].sum() < alpha_counts.sum())


def _alpha_is_a_mistake(image: Image.Image) -> bool:
    """Return True if nearly nothing shows with the alpha, and something without it."""
    alpha_counts = np.array(image.getchannel("A").histogram(), np.int64)
    if not is_faint(alpha_counts):
        return False
    if not alpha_counts[VISIBLE:].any():  # an image of one color has its shape in the alpha, however faint
        return not alpha_counts[1:].any() or image.convert("RGB").getcolors(1) is None
    return _has_colors(image)


def _has_colors(image: Image.Image) -> bool:
    """Return True if a tenth of the pixels, without alpha, differ from the median color."""
    half = image.width * image.height / 2
    median = [int(np.searchsorted(np.cumsum(c.histogram()), half)) for c in image.split()[:3]]
    count = sum(
        int((abs(rows[:, :, :3] - np.array(median)) >= DIFFERENT).any(axis=2).sum()) for rows in _row_blocks(image)
    )
    return HIDDEN_SHARE * count >= image.width * image.height


def _shows_on_white(image: Image.Image) -> bool:
    """Return True if as much of the image differs from white as from black, or enough of it.

    Pixels are weighted by their alpha. If little of the background can be seen, a smaller part is enough."""
    on_white = on_black = total = 0
    for pixels in _row_blocks(image):
        alpha, colors = pixels[:, :, 3].astype(np.int64), pixels[:, :, :3]
        on_white += int(alpha[colors.min(axis=2) < 255 - VISIBLE].sum())
        on_black += int(alpha[colors.max(axis=2) > VISIBLE].sum())
        total += int(alpha.sum())
    transparent = 255 * image.width * image.height - total
    share = SEEN_SHARE if SEEN_SHARE * transparent < 255 * image.width * image.height else ENOUGH_SHARE
    return on_white >= on_black or share * on_white >= total


def _row_blocks(image: Image.Image) -> Iterator[RGBAArray]:
    for row in range(0, image.height, ROWS):
        yield np.asarray(image.crop((0, row, image.width, min(row + ROWS, image.height))))
