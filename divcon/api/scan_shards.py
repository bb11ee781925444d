"""The first look at a collection in shards: several processes read some of its files each, and the last one makes the index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.index.scan import as_patterns, path_filter
from ..data.index.scan_cache import LAYOUT, scan_cache_file
from ..data.index.shares import changed_shares, join_verdicts, scan_share, share_state
from ..data.index.table import NearDuplicates
from ..data.sources.open_source import open_source
from ..data.sources.source import PathFilter, Source
from ..errors import DataError, few
from ..files.integrity import digest
from ..files.paths import Data, as_paths
from ..files.text import printable
from .shards import FinishedShard, Shard, finish_shard, join_if_last

VERDICTS = "verdicts.arrow"
UNLIKE = "another include=, exclude= or near_duplicates=, or another version of what decodes images"


@dataclass(frozen=True)
class ScanInShards:
    """A scan that several processes do together; all have the same cache folder, and the collection at the same path."""

    source: Source
    accept: PathFilter
    key: str
    scan_cache_file: Path

    @classmethod
    def of(
        cls,
        data: Data,
        include: str | Sequence[str],
        exclude: str | Sequence[str],
        near_duplicates: NearDuplicates,
        cache: Path,
    ) -> "ScanInShards":
        """Return the scan of the files of a collection that the patterns accept."""
        source, included, excluded = open_source(as_paths(data)), as_patterns(include), as_patterns(exclude)
        key = digest(repr((LAYOUT, [*included], [*excluded], near_duplicates)))
        return cls(source, path_filter(included, excluded), key, scan_cache_file(source, cache))

    def finish(self, shard: Shard, workers: int | None, make_index: Callable[[], None]) -> list[str]:
        """Read the files of a shard. If it is the last one, put what all found into the cache of scans, and make the index
        from it; else return the shards that are not finished."""
        shards = self.scan_cache_file.with_suffix(".shards")
        share = self.source.share(shard.number - 1, shard.count)

        def make(folder: Path) -> list[str]:
            scan_share(share, self.accept, folder / VERDICTS, self.scan_cache_file, workers)
            return [VERDICTS]

        def join(finished: Sequence[FinishedShard]) -> None:
            self._refuse_changed(finished)
            join_verdicts([each.folder / VERDICTS for each in finished], self.scan_cache_file)
            make_index()

        finish_shard(shards, shard, self.key, make, state=share_state(share, self.accept))
        return join_if_last(shards, shard, self.key, join, unlike=UNLIKE)

    def _refuse_changed(self, finished: Sequence[FinishedShard]) -> None:
        """DataError, if files came, went or changed since a shard has read them."""
        changed = changed_shares(self.source, self.accept, [each.record.state for each in finished])
        if changed:
            numbers = few(str(finished[i].shard) for i in changed)
            raise DataError(
                f"files in {printable(self.source.root)} came, went or changed since they were read for shard {numbers}: type "
                f"the command with --shard {finished[changed[0]].shard} again, and so for each of these; what has not changed "
                "is not read again"
            )
