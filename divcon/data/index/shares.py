"""A scan in shares: each process looks at the files of one share, and the last one joins what they found.

A verdict depends on one file alone. So the cache of scans with the verdicts of all shares is that of a single scan, and the
index that is built from it has the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path

from ..sources.source import PathFilter, Source
from .batched import BatchedTable
from .listing import Listing
from .scan import check_new
from .scan_cache import CACHED, ScanCache
from .source_state import DIGEST_BYTES, added_up


def share_state(share: Source, accept: PathFilter) -> str:
    """Return the state of the files of a share: their number, and the sum of their digests."""
    total, count, _, _ = added_up(share.files(accept))
    return _state(count, total)


def scan_share(share: Source, accept: PathFilter, file: Path, scan_cache_file: Path, workers: int | None) -> None:
    """Write the verdicts on the files of a share to `file`.

    A file is not read again if a killed process has left its verdict there, or an earlier scan in the cache of scans.
    """
    scan_cache = ScanCache(file, ScanCache.load(file if file.exists() else scan_cache_file).kept)
    listing = Listing.of(share.entries(accept), file.parents[1])
    verdicts = scan_cache.find(listing)
    scan_cache.keep_only(verdicts[verdicts >= 0])
    check_new(share, listing, verdicts, scan_cache, workers)


def changed_shares(source: Source, accept: PathFilter, states: Sequence[str]) -> list[int]:
    """Return the numbers of the shares, from 0, whose files came, went or changed since they had these states."""
    counts, totals = zip(*(_count_and_total(state) for state in states))
    if share_state(source, accept) == _state(sum(counts), sum(totals)):
        return []
    return [i for i, state in enumerate(states) if share_state(source.share(i, len(states)), accept) != state]


def join_verdicts(files: Sequence[Path], scan_cache_file: Path) -> None:
    """Write the verdicts of all shares to the cache of scans, which keeps its own on other files."""
    batches = [batch for file in files for batch in ScanCache.load(file).kept.batches]
    ScanCache.load(scan_cache_file).replaced_by(BatchedTable(CACHED, batches)).save()


def _state(count: int, total: int) -> str:
    return f"{count} {total % 256**DIGEST_BYTES:x}"


def _count_and_total(state: str) -> tuple[int, int]:
    count, _, total = state.partition(" ")
    return int(count), int(total, 16)
