"""The background behind a transparent image: white, or black where too little of the image would show on white."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

VISIBLE = 32  # of 255, in any channel: a pixel that differs less from the background does not show
DIFFERENT = 8  # of 255: lossy codecs change a uniform color by less
# If a tenth of the pixels differ from the median color, an image is hidden behind the alpha; compression noise around an icon
# changes fewer.
ONE_HIDDEN_IN = 10
ONE_SEEN_IN = 100  # an image is visible if one pixel in so many shows
ONE_ENOUGH_IN = 4  # white is chosen if a quarter of the opaque part shows on it, even if more shows on black
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
    """Return True if less than a hundredth of an image is visible, whatever the background.

    `alpha_counts` has the number of pixels of each alpha. A pixel with an alpha below VISIBLE differs by less than
    VISIBLE from its background, whatever its color."""
    return bool(ONE_SEEN_IN * alpha_counts[VISIBLE:].sum() < alpha_counts.sum())


def _alpha_is_a_mistake(image: Image.Image) -> bool:
    """Return True if nearly nothing shows with the alpha, and the image has content if the alpha is ignored."""
    alpha_counts = np.array(image.getchannel("A").histogram(), np.int64)
    if not is_faint(alpha_counts):
        return False
    if not alpha_counts[VISIBLE:].any():  # of an image of one color the alpha is the picture: it is kept
        return not alpha_counts[1:].any() or image.convert("RGB").getcolors(1) is None
    return _has_colors(image)


def _has_colors(image: Image.Image) -> bool:
    """Return True if a tenth of the pixels, without alpha, differ from the median color."""
    half = image.width * image.height / 2
    median = [int(np.searchsorted(np.cumsum(c.histogram()), half)) for c in image.split()[:3]]
    count = sum(
        int((abs(rows[:, :, :3] - np.array(median)) >= DIFFERENT).any(axis=2).sum()) for rows in _row_blocks(image)
    )
    return ONE_HIDDEN_IN * count >= image.width * image.height


def _shows_on_white(image: Image.Image) -> bool:
    """Return True if as much of the image differs from white as from black, or enough of it.

    Pixels are weighted by their alpha. If less than a hundredth is transparent, a hundredth is enough instead of a quarter."""
    on_white = on_black = total = 0
    for pixels in _row_blocks(image):
        alpha, colors = pixels[:, :, 3].astype(np.int64), pixels[:, :, :3]
        on_white += int(alpha[colors.min(axis=2) < 255 - VISIBLE].sum())
        on_black += int(alpha[colors.max(axis=2) > VISIBLE].sum())
        total += int(alpha.sum())
    transparent = 255 * image.width * image.height - total
    share = ONE_SEEN_IN if ONE_SEEN_IN * transparent < 255 * image.width * image.height else ONE_ENOUGH_IN
    return on_white >= on_black or share * on_white >= total


def _row_blocks(image: Image.Image) -> Iterator[RGBAArray]:
    for row in range(0, image.height, ROWS):
        yield np.asarray(image.crop((0, row, image.width, min(row + ROWS, image.height))))
