"""Index a collection of images."""

from pathlib import Path
from typing import Any

from ..config import Workers
from ..data.images import open_images
from ..data.index.table import NearDuplicates
from ..files.caches import cache_folder
from ..files.paths import Data
from .entry import exclusive


@exclusive
def index(
    data: Data,
    *,
    out: str | Path | None = None,
    include: str | tuple[str, ...] = (),
    exclude: str | tuple[str, ...] = (),
    near_duplicates: NearDuplicates = "keep",
    cache: str | Path | None = None,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Read every file once and remember it in the cache; with `out`, also as index.arrow and lists in that folder."""
    made = open_images(
        data,
        include=include,
        exclude=exclude,
        near_duplicates=near_duplicates,
        cache=cache_folder(cache),
        workers=workers,
    ).index
    if out is not None:
        made.save(Path(out))
    return {"used": made.used, "fingerprint": made.fingerprint}
