"""The state of a source: two equal ones mean that no file has come, gone or changed in between.

A run keeps the state of its source beside its index. At a later start it compares the names, sizes, times and numbers of
all files, and reads no file, no header of a shard and no cache of scans.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..sources.source import Entry, Source
from .scan import path_filter
from .scan_cache import CLOCK_TICK_NS, LAYOUT, TRANSIENT_REASONS

DIGEST_BYTES = 16  # of one file; their sum does not depend on the order in which a file system lists them


class SourceState(NamedTuple):
    """A digest of all files; and the number of those that could not be asked for their size, for a reason that may pass.

    The digest is empty where a file is so new that it may change and keep its time.
    """

    digest: str
    transient: int


def source_state(source: Source, include: Sequence[str], exclude: Sequence[str], selection: str) -> SourceState:
    """Return the state of the files of a source that the patterns accept; `selection` says what else an index depends on."""
    settled_ns = time.time_ns() - CLOCK_TICK_NS
    total, count, newest_ns, transient = added_up(source.files(path_filter(include, exclude)))
    described = repr((LAYOUT, [*include], [*exclude], selection, count, total % 256**DIGEST_BYTES))
    digest = hashlib.sha256(described.encode()).hexdigest() if newest_ns < settled_ns else ""
    return SourceState(digest, transient)


def added_up(entries: Iterable[Entry]) -> tuple[int, int, int, int]:
    """Return the sum of the digests of the entries, their number, the newest time, and the number of transient reasons."""
    blake2b, from_bytes = hashlib.blake2b, int.from_bytes
    total = count = newest_ns = transient = 0
    for path, size, mtime_ns, inode, _, reason, detail, _ in entries:
        line = b"%b\0%d %d %d " % (path, size, mtime_ns, inode)
        if reason:
            line += f"{reason} {detail}".encode()
            transient += reason in TRANSIENT_REASONS
        total += from_bytes(blake2b(line, digest_size=DIGEST_BYTES).digest())
        count += 1
        if mtime_ns > newest_ns:
            newest_ns = mtime_ns
    return total, count, newest_ns, transient
