"""What a picture that lets something through is put on: white, or black where on white too little of it would be seen."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

APART = 32  # of 255, in any color: less than that from a ground does not show on it
VARIES = 8  # of 255: more than a codec with losses leaves in one color
UNDER = 10  # a hidden picture varies in one part in so many; the colors that codecs spread around an icon are fewer
SHOWS = 100  # one part in so many of a picture is something to see
ENOUGH = 4  # white is right without a look at black if one part in so many of what there is shows on it
ROWS = 256  # that are looked at together

Pixels = UInt8[np.ndarray, "h w 4"]


class Flat(NamedTuple):
    """A picture in plain RGB, and what is worth knowing of how it became so."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def flat(image: Image.Image) -> Flat:
    """A picture in RGBA, on its ground. Where nearly nothing would show, its transparency is taken for a mistake, as
    programs make it that leave the fourth byte of a pixel 0, or write 1 where 255 is due."""
    if image.mode != "RGBA":
        return Flat(image.convert("RGB"))
    if _alpha_is_a_mistake(image):
        return Flat(image.convert("RGB"), ("alpha_ignored",))
    white = _is_for_white(image)
    ground = Image.new("RGB", image.size, "white" if white else "black")
    ground.paste(image, mask=image.getchannel("A"))
    return Flat(ground, () if white else ("ground=black",))


def is_faint(covers: Int64[np.ndarray, "256"]) -> bool:
    """Whether less than a hundredth of a picture can show on any ground, by how many of its pixels have each alpha. A pixel
    of an alpha below APART differs by less than APART from the ground under it, whatever its color is."""
    return bool(SHOWS * covers[APART:].sum() < covers.sum())


def _alpha_is_a_mistake(image: Image.Image) -> bool:
    """Whether the picture shows nearly nothing with its alpha, and something without."""
    covers = np.array(image.getchannel("A").histogram(), np.int64)
    if not is_faint(covers):
        return False
    if not covers[APART:].any():  # one color with a faint shape in its alpha would lose the shape
        return not covers[1:].any() or image.convert("RGB").getcolors(1) is None
    return _has_colors(image)


def _has_colors(image: Image.Image) -> bool:
    """Whether a tenth of the picture, its alpha left out, differs from the color that lies in its middle."""
    middle = [int(np.searchsorted(np.cumsum(c.histogram()), image.width * image.height / 2)) for c in image.split()[:3]]
    differs = sum(int((abs(rows[:, :, :3] - np.array(middle)) >= VARIES).any(axis=2).sum()) for rows in _rows(image))
    return UNDER * differs >= image.width * image.height


def _is_for_white(image: Image.Image) -> bool:
    """Whether as much of the picture, each pixel weighed by how far it covers what is behind it, differs from white as
    from black, or enough of it. Of a ground that is hardly seen itself, little is asked."""
    on_white = on_black = total = 0
    for pixels in _rows(image):
        alpha, colors = pixels[:, :, 3].astype(np.int64), pixels[:, :, :3]
        on_white += int(alpha[colors.min(axis=2) < 255 - APART].sum())
        on_black += int(alpha[colors.max(axis=2) > APART].sum())
        total += int(alpha.sum())
    clear = 255 * image.width * image.height - total
    enough = SHOWS if SHOWS * clear < 255 * image.width * image.height else ENOUGH
    return on_white >= on_black or enough * on_white >= total


def _rows(image: Image.Image) -> Iterator[Pixels]:
    """Its pixels, some rows at a time."""
    for row in range(0, image.height, ROWS):
        yield np.asarray(image.crop((0, row, image.width, min(row + ROWS, image.height))))
