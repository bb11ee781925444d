"""The scan of a source: every file in it is hashed and decoded once."""

import base64
import contextlib
import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ... import failpoints, log, signals
from ..sources.source import ByteRange, Entry, PathFilter, Source
from .index import Index
from .scan_cache import ScanCache, scan_cache_file
from .table import Found, NearDuplicates
from .validate import Verdict
from .worker_pool import check_files

NO_IMAGE = {"not_an_image", "format_not_allowed", "vector_image", "empty_file"}
SYSTEM_FILES = {b"Thumbs.db", b"ehthumbs.db", b"desktop.ini", b".DS_Store", b".directory"}


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
    entries = list(source.entries(path_filter(include, exclude)))
    scan_cache = ScanCache.load(scan_cache_file(source, cache))
    new = [entry for entry in entries if not entry.reason and not scan_cache.has(entry)]
    _check_new(source, new, scan_cache, workers)
    return Index.of((_found(entry, scan_cache) for entry in entries), near_duplicates)


def path_filter(include: Sequence[str], exclude: Sequence[str]) -> PathFilter:
    """Return a filter that accepts paths that match one of `include` (if there are any) and none of `exclude`.

    A folder or a shard that can't be read has a name that ends in a slash. Only `exclude` leaves it out, because files in
    it might have matched.
    """
    included, excluded = _matcher(include), _matcher(exclude)
    return lambda path: (path.endswith(b"/") or not include or included(path)) and not (exclude and excluded(path))


def _matcher(globs: Iterable[str]) -> Callable[[bytes], bool]:
    # Latin-1 on both sides: each byte is a character, whatever encoding the names are in.
    patterns = [fnmatch.translate(os.fsencode(glob).decode("latin-1")) for glob in globs]
    match = re.compile("|".join(patterns)).match
    return lambda path: match(path.decode("latin-1")) is not None


def _check_new(source: Source, entries: Sequence[Entry], scan_cache: ScanCache, workers: int | None) -> None:
    """Check each file once, however many links lead to it; an interruption keeps what is done."""
    files = _names_by_file(source, entries)
    failpoints.at("scan.listed")
    try:
        with contextlib.closing(check_files(list(files), workers=workers or len(os.sched_getaffinity(0)))) as verdicts:
            for done, (byte_range, verdict) in enumerate(verdicts, 1):
                scan_cache.add(files[byte_range], verdict)
                failpoints.at("scan.checked")
                log.progress("scan", done, len(files))
                signals.stop_if_requested("files that were checked are not checked again")
    finally:
        scan_cache.save()


def _names_by_file(source: Source, entries: Sequence[Entry]) -> dict[ByteRange, list[Entry]]:
    """Return the entries that lead to each file, by the byte range of the first of them.

    Entries with equal file numbers may still be two files in a union of file systems, or in one in user space: then their
    real paths differ. A hard link has a real path of its own, and is read as a copy is.
    """
    numbers = Counter((entry.device, entry.inode, entry.offset) for entry in entries)
    files: dict[ByteRange, tuple[ByteRange, list[Entry]]] = {}
    for entry in entries:
        byte_range = source.byte_range(entry.path, entry.offset, entry.size)
        real = byte_range
        if numbers[entry.device, entry.inode, entry.offset] > 1:
            real = byte_range._replace(file=os.path.realpath(byte_range.file), name=b"")
        files.setdefault(real, (byte_range, []))[1].append(entry)
    return dict(files.values())


def _found(entry: Entry, scan_cache: ScanCache) -> Found:
    if entry.reason:
        return Found(entry.path, reason=entry.reason, detail=entry.detail, offset=entry.offset)
    verdict = scan_cache.verdicts[entry.path]
    return Found(
        entry.path,
        verdict.width,
        verdict.height,
        verdict.size,
        bytes.fromhex(verdict.hash) or None,
        _reason(entry, verdict),
        verdict.detail,
        base64.b64decode(verdict.thumbnail),
        entry.offset,
    )


def _reason(entry: Entry, verdict: Verdict) -> str:
    """The reason of the verdict; "not_candidate" for files of the operating system that nobody expects to be images."""
    *folders, name = entry.path.split(b"/")
    of_system = name in SYSTEM_FILES or name.startswith(b"._") or b"__MACOSX" in folders
    return "not_candidate" if verdict.reason in NO_IMAGE and of_system else verdict.reason
