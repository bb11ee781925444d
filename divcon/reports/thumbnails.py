"""Thumbnails inside a page: single ones, and atlases of many, as data URIs.

A browser shows an atlas of 1,024 thumbnails sooner than 1,024 pictures, and one file of them is smaller.
"""

import base64
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from ..data.decoding.backgrounds import composite

Picture = Image.Image | UInt8[np.ndarray, "h w *channels"]
RGBArray = UInt8[np.ndarray, "h w 3"]

SIDE = 64  # pixels: the longer side of a thumbnail in an atlas; four blocks of WebP, so that cells do not run into one another
COLUMNS = 32
CELLS = COLUMNS * COLUMNS  # of an atlas: 2,048 x 2,048 pixels, which phones decode
QUALITIES = 75, 50, 25, 5  # of WebP; the first is used whose atlases are small enough
GALLERY_SIDE = 112
GALLERY_QUALITY = 72
MISSING = Image.new("RGB", (SIDE, SIDE), "#9a9a9a")  # in the place of a picture that could not be read


@dataclass(frozen=True, eq=False)
class Atlases:
    """Thumbnails of m pictures in cells of SIDE pixels, row by row, CELLS in an atlas; each in the upper left of its cell."""

    uris: list[str]
    sizes: Int64[np.ndarray, "m 2"]  # width and height of each thumbnail


def pack(pictures: Iterable[Picture | None], limit: int) -> Atlases:
    """Return the atlases of some pictures; `limit` is the number of bytes that they take in a page.

    The quality is lowered until they fit, but never below the last of QUALITIES. A picture that is None is drawn gray."""
    drawn, sizes = _draw(pictures)
    for quality in QUALITIES:
        uris = [data_uri(atlas, quality) for atlas in drawn]
        if sum(map(len, uris)) <= limit:
            break
    return Atlases(uris, np.array(sizes, np.int64).reshape(-1, 2))


def cell_of(i: int) -> tuple[int, int, int]:
    """Return the atlas of thumbnail i, and the x and y of its cell there, in pixels."""
    atlas, cell = divmod(i, CELLS)
    return atlas, SIDE * (cell % COLUMNS), SIDE * (cell // COLUMNS)


def thumbnail(picture: Picture, side: int) -> Image.Image:
    """Return a picture in RGB whose longer side is at most `side` pixels; a transparent picture is put on a background."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    image = composite(image.convert("RGBA") if has_alpha else image).image
    return image.resize(_fitted(image.size, side), Image.Resampling.LANCZOS, reducing_gap=3)


def gallery_uri(picture: Picture, side: int = GALLERY_SIDE) -> str:
    """Return a thumbnail as a data URI, for an <img> of its own."""
    return data_uri(thumbnail(picture, side), GALLERY_QUALITY)


def data_uri(image: Image.Image, quality: int) -> str:
    """Return a picture as WebP in a data URI."""
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the width and height with a longer side of at most `side`, and at least one pixel each."""
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _draw(pictures: Iterable[Picture | None]) -> tuple[list[Image.Image], list[tuple[int, int]]]:
    atlases: list[Image.Image] = []
    sizes: list[tuple[int, int]] = []
    drawn = (thumbnail(MISSING if picture is None else picture, SIDE) for picture in pictures)
    for cells in _in_blocks((np.asarray(cell) for cell in drawn), CELLS):
        sizes += [(cell.shape[1], cell.shape[0]) for cell in cells]
        atlases.append(_atlas(cells))
    return atlases, sizes


def _atlas(cells: list[RGBArray]) -> Image.Image:
    pixels = np.full((SIDE * math.ceil(len(cells) / COLUMNS), SIDE * min(COLUMNS, len(cells)), 3), 255, np.uint8)
    for i, cell in enumerate(cells):
        _, x, y = cell_of(i)
        # The rest of a cell repeats the edge: compression would mix another color into it.
        right, below = SIDE - cell.shape[1], SIDE - cell.shape[0]
        pixels[y : y + SIDE, x : x + SIDE] = np.pad(cell, ((0, below), (0, right), (0, 0)), mode="edge")
    return Image.fromarray(pixels)


def _in_blocks(cells: Iterator[RGBArray], size: int) -> Iterator[list[RGBArray]]:
    while block := list(islice(cells, size)):
        yield block
