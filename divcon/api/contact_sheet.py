"""Contact sheets: small pictures of a collection, or of its clusters, on one page."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from ..clustering.clusters import Clusters
from ..clustering.shares import evenly
from ..data.images import Images
from ..data.pixels.pixels import decode_images
from ..errors import UsageError
from ..files.atomic import atomic_write

SIDE = 96  # pixels of a picture on the sheet
MARGIN = 2  # pixels around it
COLUMNS = 12
ROWS = 8  # of a sheet of a collection


def draw_collection(images: Images, path: Path) -> None:
    """Write a PNG file with pictures evenly spaced over the collection."""
    positions = evenly(len(images), COLUMNS * ROWS)
    _draw(images, [positions[i : i + COLUMNS] for i in range(0, len(positions), COLUMNS)], path)


def draw_clusters(images: Images, clusters: Clusters, path: Path) -> None:
    """Write a PNG file with a row for each cluster, from the picture nearest to its center to the farthest."""
    rows = [members[np.argsort(clusters.distances[members], kind="stable")] for members in clusters.members()]
    _draw(images, [row[evenly(len(row), COLUMNS)] for row in rows], path)


def draw_positions(images: Images, rows: Sequence[NDArray[np.int64]], path: Path) -> None:
    """Write a PNG file with the pictures at these positions, a row for each array; a long one goes on in the next row."""
    _draw(images, _lines(rows), path)


def draw_beside(
    images: Images, firsts: Sequence[UInt8[np.ndarray, "h w 3"]], rows: Sequence[NDArray[np.int64]], path: Path
) -> None:
    """Write a PNG file with a row for each array of positions, and another picture before each."""
    shown = [row[: COLUMNS - 1] for row in rows]
    _draw_pictures([[first, *decode_images(images, row, SIDE)] for first, row in zip(firsts, shown, strict=True)], path)


def _lines(rows: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    return [row[i : i + COLUMNS] for row in rows for i in range(0, len(row), COLUMNS)]


def _draw(images: Images, rows: Sequence[NDArray[np.int64]], path: Path) -> None:
    _draw_pictures([decode_images(images, row, SIDE) for row in rows], path)


def _draw_pictures(rows: Sequence[Iterable[UInt8[np.ndarray, "h w 3"]]], path: Path) -> None:
    if path.suffix != ".png":
        raise UsageError(f"{path}: a contact sheet is a picture; let the name end in .png")
    sheet = Image.new("RGB", (COLUMNS * SIDE, len(rows) * SIDE), "white")
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            picture = Image.fromarray(pixels)
            picture.thumbnail((SIDE - 2 * MARGIN, SIDE - 2 * MARGIN))
            sheet.paste(picture, (x * SIDE + MARGIN, y * SIDE + MARGIN))
    with atomic_write(path) as part:
        sheet.save(part, format="PNG")
