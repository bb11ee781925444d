"""A contact sheet: some of a collection's pictures on one page."""

from pathlib import Path

import numpy as np
from PIL import Image

from ..artifacts import whole
from ..data.images import Folder
from ..data.pixels import decoded
from ..errors import UsageError

SIDE = 96  # pixels of a picture on the sheet


def draw_sheet(images: Folder, path: Path, *, columns: int = 12, rows: int = 8) -> int:
    """Write a PNG of pictures evenly spread over the collection; how many there are on it."""
    if path.suffix != ".png":
        raise UsageError(f"sheet={path}: a contact sheet is a picture; let the name end in .png")
    n = min(len(images), columns * rows)
    positions = np.linspace(0, len(images) - 1, n).astype(np.int64)
    sheet = Image.new("RGB", (columns * SIDE, -(-n // columns) * SIDE), "white")
    for i, picture in enumerate(decoded(images, positions, SIDE)):
        small = Image.fromarray(picture)
        small.thumbnail((SIDE - 4, SIDE - 4))
        sheet.paste(small, (i % columns * SIDE + 2, i // columns * SIDE + 2))
    with whole(path) as part:
        sheet.save(part, format="PNG")
    return n
