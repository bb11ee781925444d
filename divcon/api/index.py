"""Index a collection of images."""

from dataclasses import dataclass
from pathlib import Path

from ..answers import Answer
from ..config import Workers
from ..data.images import open_images
from ..data.index.table import NearDuplicates
from ..files.caches import cache_folder
from ..files.paths import Data
from .entry import runs_alone
from .output_files import refuse_inside_collection


@dataclass(frozen=True)
class IndexAnswer(Answer):
    """The answer of `index`: the number of used images, and the fingerprint of the collection."""

    used: int
    fingerprint: str


@runs_alone
def index(
    data: Data,
    *,
    out: str | Path | None = None,
    include: str | tuple[str, ...] = (),
    exclude: str | tuple[str, ...] = (),
    near_duplicates: NearDuplicates = "keep",
    cache: str | Path | None = None,
    workers: Workers | None = None,
) -> IndexAnswer:
    """Read every file of a collection once and store the index in the cache, so that later verbs start at once.

    With `out`, also write index.arrow and the lists of rejected files and duplicates to that folder.
    """
    if out is not None:
        refuse_inside_collection("out", Path(out), data)
    built = open_images(
        data,
        include=include,
        exclude=exclude,
        near_duplicates=near_duplicates,
        cache=cache_folder(cache),
        workers=workers,
    ).index
    if out is not None:
        built.save(Path(out))
    return IndexAnswer(built.used, built.fingerprint)
