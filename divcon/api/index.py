"""Index a collection of images."""

from dataclasses import dataclass
from pathlib import Path

from ..answers import Answer
from ..config import Workers
from ..data.images import open_images
from ..data.index.index import Index
from ..data.index.table import NearDuplicates
from ..files.caches import cache_folder
from ..files.paths import Data
from ..runs.refusals import refuse_bucket
from .entry import runs_alone
from .output_files import refuse_inside_collection
from .scan_shards import ScanInShards
from .shards import Shard


@dataclass(frozen=True)
class IndexAnswer(Answer):
    """The answer of `index`: the number of used images, and the fingerprint of the collection. With `shard`, both are None
    while there are other shards in `waiting_for`, or another process joins them."""

    used: int | None = None
    fingerprint: str | None = None
    waiting_for: list[str] | None = None


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
    shard: str | None = None,
) -> IndexAnswer:
    """Read every file of a collection once and store the index in the cache, so that later verbs start at once.

    With `out`, also write index.arrow and the lists of rejected files and duplicates to that folder.

    With shard="3/8", read the third of eight shards of the files only, and go on with it after a kill; the process that
    finishes the last shard makes the index, with the bytes that one process would write. All processes share the cache.
    """
    part = None if shard is None else Shard.parse(shard)
    if out is not None:
        refuse_inside_collection("out", Path(out), data)
    folder, made = cache_folder(cache), list[Index]()

    def make_index() -> None:
        images = open_images(
            data, include=include, exclude=exclude, near_duplicates=near_duplicates, cache=folder, workers=workers
        )
        if out is not None:
            images.index.save(Path(out))
        made.append(images.index)

    if part is None:
        make_index()
        waiting = None
    else:
        refuse_bucket(folder, "cache")
        scan = ScanInShards.of(data, include, exclude, near_duplicates, folder)
        waiting = scan.finish(part, workers, make_index)
    return IndexAnswer(made[0].used, made[0].fingerprint) if made else IndexAnswer(waiting_for=waiting)
