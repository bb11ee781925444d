"""The scan of a source: every file in it is hashed and decoded once."""

import contextlib
import fnmatch
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ... import failpoints, log, signals
from ..sources.source import ByteRange, Entry, PathFilter, Source
from .build_table import Originals, build_table
from .index import Index
from .kept_pairs import kept_or_paired, kept_pairs_file
from .listing import Listing
from .new_files import new_files
from .scan_cache import ScanCache, scan_cache_file
from .scanned_files import ScannedFiles
from .table import Hashes, NearDuplicates
from .worker_pool import check_files


def scan(
    source: Source,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    near_duplicates: NearDuplicates = "keep",
    workers: int | None = None,
    cache: Path,
) -> Index:
    """Return the index of a source; files that an earlier scan has read and that are unchanged are not read again.

    Patterns are matched against the path below the root, and `*` matches slashes too: `*.jpg`, `thumbs/*`.
    """
    file = scan_cache_file(source, cache)
    found = _found(source, path_filter(include, exclude), file, workers)

    def pairing(hashes: Iterator[Hashes], n: int, pair: Callable[[], Originals]) -> Originals:
        digest = hashlib.sha256()
        for block in hashes:
            digest.update(block.tobytes())
        return kept_or_paired(kept_pairs_file(file), digest.hexdigest(), n, pair)

    return Index(build_table(found, near_duplicates, cache, pairing))


def _found(source: Source, accept: PathFilter, scan_cache_file: Path, workers: int | None) -> ScannedFiles:
    """List the source, and check the files that no earlier scan has read as they are."""
    listing = Listing.of(source.entries(accept), scan_cache_file.parents[1])
    scan_cache = ScanCache.load(scan_cache_file)
    verdicts = scan_cache.find(listing)
    check_new(source, listing, verdicts, scan_cache, workers)
    return ScannedFiles(listing.table, scan_cache.verdicts(), verdicts)


def as_patterns(patterns: str | Sequence[str]) -> Sequence[str]:
    """Return one pattern, or several, as a sequence."""
    return (patterns,) if isinstance(patterns, str) else patterns


def path_filter(include: Sequence[str], exclude: Sequence[str]) -> PathFilter:
    """Return a filter that accepts paths that match one of `include` (if there are any) and none of `exclude`.

    A folder or a shard that can't be read has a name that ends in a slash. Only `exclude` leaves it out, because files in
    it might have matched.
    """
    if not include and not exclude:
        return lambda path: True
    included, excluded = _matcher(include), _matcher(exclude)
    return lambda path: (path.endswith(b"/") or not include or included(path)) and not (exclude and excluded(path))


def _matcher(globs: Iterable[str]) -> Callable[[bytes], bool]:
    # Latin-1 on both sides: each byte is a character, whatever encoding the names are in.
    patterns = [fnmatch.translate(os.fsencode(glob).decode("latin-1")) for glob in globs]
    match = re.compile("|".join(patterns)).match
    return lambda path: match(path.decode("latin-1")) is not None


def check_new(
    source: Source, listing: Listing, verdicts: Int64[np.ndarray, "listed"], scan_cache: ScanCache, workers: int | None
) -> None:
    """Check each file without a verdict once, however many links lead to it, and write the row of its verdict to `verdicts`.

    An interruption keeps what is done.
    """
    rows = np.flatnonzero(listing.readable & (verdicts < 0))
    waiting: dict[ByteRange, list[tuple[int, Entry]]] = {}  # the files that are being checked, with their names
    done = 0

    def byte_ranges() -> Iterator[ByteRange]:
        for byte_range, names in new_files(source, listing, rows):
            waiting[byte_range] = names
            yield byte_range

    failpoints.at("scan.listed")
    try:
        with contextlib.closing(check_files(byte_ranges(), workers=workers or len(os.sched_getaffinity(0)))) as checked:
            for byte_range, verdict in checked:
                for row, entry in waiting.pop(byte_range):
                    verdicts[row] = scan_cache.add(entry, verdict)
                    done += 1
                scan_cache.save_if_due()
                failpoints.at("scan.checked")
                log.progress("scan", done, len(rows))
                signals.stop_if_requested("files that were checked are not checked again")
    finally:
        scan_cache.save()
