"""The cache of scans: what earlier scans of a source found out about each file."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from ... import log
from ...files import atomic, caches, integrity
from ..decoding.formats import DECODER_VERSIONS
from ..sources.source import Entry, Source
from .validate import Verdict

LAYOUT = f"3, {DECODER_VERSIONS}".encode()
SAVE_SECONDS = 10.0
# Two changes of a file within a tick of the file system's clock leave one time.
CLOCK_TICK_NS = 2_000_000_000
# These reasons depend on the moment, not only on the file.
TRANSIENT_REASONS = {"permission_denied", "io_error", "decoder_crashed"}


def scan_cache_file(source: Source, cache: Path) -> Path:
    """Return the file of the cache of scans of a source, in the cache folder `cache`."""
    return cache / "index" / f"{hashlib.sha256(source.key).hexdigest()[:16]}.arrow"


@dataclass
class ScanCache:
    """The verdicts of earlier scans of a source, by path. Without it a scan gives the same result and takes longer."""

    file: Path
    verdicts: dict[bytes, Verdict] = field(default_factory=dict)
    changed: bool = False
    started_ns: int = field(default_factory=time.time_ns)
    save_after: float = field(default_factory=lambda: time.monotonic() + SAVE_SECONDS)

    @classmethod
    def load(cls, file: Path) -> "ScanCache":
        """Read a cache of scans; one that is damaged, or has another layout, is empty."""
        try:
            table = pa.ipc.open_file(integrity.read_with_digest(file)).read_all()
            table.validate(full=True)  # to read an array with wrong buffers can end the process
            if table.schema.metadata != {b"layout": LAYOUT}:
                return cls(file)
            paths, *columns = (column.to_pylist() for column in table.columns)
            return cls(file, dict(zip(paths, map(Verdict, *columns), strict=True)))
        except FileNotFoundError:
            return cls(file)
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            log.warning(f"{error}. Every file is read again")
            return cls(file)

    def has(self, entry: Entry) -> bool:
        """Return true if there is a verdict on the file, and its size, time and inode are unchanged."""
        verdict = self.verdicts.get(entry.path)
        return verdict is not None and verdict[:3] == (entry.size, entry.mtime_ns, entry.inode)

    def add(self, entries: Sequence[Entry], verdict: Verdict) -> None:
        """Store the verdict on a file under all its names; save the cache from time to time."""
        for entry in entries:
            unread = verdict._replace(size=entry.size, mtime_ns=entry.mtime_ns, inode=entry.inode)
            self.verdicts[entry.path] = verdict if verdict.inode else unread
        self.changed = True
        if time.monotonic() > self.save_after:
            self.save()

    def forget(self, path: bytes) -> None:
        """Remove the verdict on a file whose content has changed while its size and time have not."""
        self.changed = self.verdicts.pop(path, None) is not None
        self.save()

    def save(self) -> None:
        """Write the lasting verdicts; a cache folder that can't be written is reported once."""
        if not self.changed:
            return
        started = time.monotonic()
        lasting = {path: verdict for path, verdict in self.verdicts.items() if self._is_lasting(verdict)}
        names = ("path_bytes", *Verdict._fields)
        columns = [list(lasting), *map(list, zip(*lasting.values()))] if lasting else [[] for _ in names]
        table = pa.table(dict(zip(names, columns))).replace_schema_metadata({b"layout": LAYOUT})
        with caches.skip_if_unwritable(self.file.parents[1]), atomic.atomic_write(self.file) as part:
            with part.open("wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            integrity.append_digest(part)
        # Saving takes a small share of a long scan, however large the cache has become.
        seconds = time.monotonic() - started
        self.changed, self.save_after = False, time.monotonic() + max(SAVE_SECONDS, 20 * seconds)

    def _is_lasting(self, verdict: Verdict) -> bool:
        return verdict.reason not in TRANSIENT_REASONS and verdict.mtime_ns < self.started_ns - CLOCK_TICK_NS
