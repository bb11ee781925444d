"""Look through a collection of images."""

from pathlib import Path
from typing import Any

import numpy as np

from ..config import Workers
from ..data.images import refuse_none, scan_images
from ..data.index.rejected import sample_rejected
from ..data.index.table import NearDuplicates
from ..errors import UsageError
from ..files.caches import cache_folder
from ..files.paths import Data, refuse_inside, refuse_unwritable
from ..files.text import printable
from .entry import exclusive

NAMED = 10  # of the rejected, in what `look` says


@exclusive
def look(
    data: Data,
    *,
    include: str | tuple[str, ...] = (),
    exclude: str | tuple[str, ...] = (),
    near_duplicates: NearDuplicates = "keep",
    cache: str | Path | None = None,
    workers: Workers | None = None,
    sheet: str | Path | None = None,
    rejected: str | Path | None = None,
) -> dict[str, Any]:
    """What is in the pile: how many files were found, used, duplicates, and rejected for what reason; how many look like
    another that is used (near-duplicates: used too, unless they are to be dropped); the middle sizes in pixels; a few of the rejected by name. `sheet` is where to draw a contact sheet, `rejected` where to
    write down all that were rejected, also when no image can be used."""
    for name, path, ending in (("sheet", sheet, ".png"), ("rejected", rejected, ".csv")):
        if path is not None and Path(path).suffix != ending:
            raise UsageError(f"{name}={printable(path)}: let the name end in {ending}")
        if path is not None:
            refuse_unwritable(Path(path))
    if sheet is not None:
        refuse_inside(data, "sheet", Path(sheet))
    images = scan_images(
        data,
        include=include,
        exclude=exclude,
        near_duplicates=near_duplicates,
        cache=cache_folder(cache),
        workers=workers,
    )
    if rejected is not None:
        images.index.save_rejected(Path(rejected))
    refuse_none(data, images, Path(rejected) if rejected is not None else None)
    if sheet is not None:
        from .contact_sheet import draw_collection

        draw_collection(images, Path(sheet))
    index = images.index
    counts = {"found": index.found, "used": index.used, "duplicates": index.duplicates, "rejected": index.rejected}
    middle = {"width": int(np.median(images.widths)), "height": int(np.median(images.heights))}
    near = {"near_duplicates": index.near_duplicates}
    some = [row._asdict() for row in sample_rejected(index, NAMED)]
    reasons = {"reasons": dict(index.reasons), "rejected_sample": some}
    return {**counts, **near, **reasons, "warnings": index.image_warnings, "median": middle}
