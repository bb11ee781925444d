"""Contact sheets: what is in a collection, or in its clusters, on one page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..clustering.clusters import Clusters
from ..data.images import Images
from ..data.pixels.pixels import decode_images
from ..errors import UsageError
from ..files.atomic import atomic_write

SIDE = 96  # pixels of a picture on the sheet
COLUMNS = 12


def draw_collection(images: Images, path: Path, *, rows: int = 8) -> None:
    """Pictures evenly spread over the collection."""
    positions = spread(np.arange(len(images)), COLUMNS * rows)
    _draw(images, [positions[i : i + COLUMNS] for i in range(0, len(positions), COLUMNS)], path)


def draw_clusters(images: Images, clusters: Clusters, path: Path) -> None:
    """A row for each cluster, from its center to its edge."""
    rows = [members[np.argsort(clusters.distances[members], kind="stable")] for members in clusters.members()]
    _draw(images, [spread(row, COLUMNS) for row in rows], path)


def spread(positions: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """At most n of the positions, evenly spread."""
    return positions[np.linspace(0, len(positions) - 1, min(n, len(positions))).astype(np.int64)]


def _draw(images: Images, rows: Sequence[NDArray[np.int64]], path: Path) -> None:
    if path.suffix != ".png":
        raise UsageError(f"{path}: a contact sheet is a picture; let the name end in .png")
    sheet = Image.new("RGB", (COLUMNS * SIDE, len(rows) * SIDE), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(decode_images(images, row, SIDE)):
            small = Image.fromarray(picture)
            small.thumbnail((SIDE - 4, SIDE - 4))
            sheet.paste(small, (x * SIDE + 2, y * SIDE + 2))
    with atomic_write(path) as part:
        sheet.save(part, format="PNG")
