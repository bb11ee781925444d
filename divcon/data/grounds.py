"""What a picture that lets something through is put on: white, or black where on white it would not be seen."""

from typing import NamedTuple

import numpy as np
from PIL import Image

APART = 32  # of 255, in any color: less than that from white does not show
SHOWS = 100  # white is right if one part in so many of what there is shows on it
ROWS = 256  # that are looked at together


class Flat(NamedTuple):
    """A picture in plain RGB, and what is worth knowing of how it became so."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def flat(image: Image.Image) -> Flat:
    """A picture in RGBA, on its ground. Where nothing at all would show, its transparency is taken for a mistake, as
    programs make it that leave the fourth byte of a pixel 0."""
    if image.mode != "RGBA":
        return Flat(image.convert("RGB"))
    alpha = image.getchannel("A")
    if alpha.getextrema() == (0, 0):
        return Flat(image.convert("RGB"), ("alpha_ignored",))
    white = _shows_on_white(image)
    ground = Image.new("RGB", image.size, "white" if white else "black")
    ground.paste(image, mask=alpha)
    return Flat(ground, () if white else ("ground=black",))


def _shows_on_white(image: Image.Image) -> bool:
    """Whether enough of the picture, each pixel weighed by how far it covers what is behind it, differs from white."""
    shows = total = 0
    for row in range(0, image.height, ROWS):
        pixels = np.asarray(image.crop((0, row, image.width, min(row + ROWS, image.height))))
        alpha, dark = pixels[:, :, 3].astype(np.int64), pixels[:, :, :3].min(axis=2) < 255 - APART
        shows, total = shows + int(alpha[dark].sum()), total + int(alpha.sum())
    return SHOWS * shows >= total
