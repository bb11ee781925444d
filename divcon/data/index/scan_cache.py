"""The cache of scans: what earlier scans of a source found out about each file."""

import base64
import hashlib
import mmap
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from ... import log
from ...errors import DamagedError
from ...files import atomic, caches, integrity
from ...files.regular import open_nonblocking
from ...files.text import printable
from ..decoding.formats import DECODER_VERSIONS
from ..sources.source import Entry, Source
from .batched import BatchedTable, GrowingTable, blocks
from .listing import Keys, Listing
from .table import HASH_BYTES
from .validate import Verdict

LAYOUT = f"4, {DECODER_VERSIONS}".encode()
CACHED = pa.schema(
    [
        ("path_bytes", pa.binary()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("inode", pa.uint64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("hash", pa.binary(HASH_BYTES)),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("thumbnail", pa.binary()),
    ]
)
assert CACHED.names[1:] == [*Verdict._fields]
UNCHANGED = ["path_bytes", "size", "mtime_ns", "inode"]  # what an unchanged file has in common with its verdict
SAVE_SECONDS = 10.0
# Two changes of a file within a tick of the file system's clock leave one time.
CLOCK_TICK_NS = 2_000_000_000
# These reasons depend on the moment, not only on the file.
TRANSIENT_REASONS = {"permission_denied", "io_error", "decoder_crashed"}


def scan_cache_file(source: Source, cache: Path) -> Path:
    """Return the file of the cache of scans of a source, in the cache folder `cache`."""
    return cache / "index" / f"{hashlib.sha256(source.key).hexdigest()[:16]}.arrow"


class ScanCache:
    """The verdicts of earlier scans of a source, in its file, and those that are added to them.

    Without the file a scan gives the same result and takes longer.
    """

    def __init__(self, file: Path, kept: BatchedTable | None = None):
        self.file = file
        self.kept = BatchedTable(CACHED, []) if kept is None else kept
        self.valid: Bool[np.ndarray, "kept"] = np.ones(len(self.kept), np.bool_)
        self.added = GrowingTable(CACHED, file.parents[1])
        self.changed = False
        self.started_ns = time.time_ns()
        self.save_after = time.monotonic() + SAVE_SECONDS

    @classmethod
    def load(cls, file: Path) -> "ScanCache":
        """Open a cache of scans, mapped into memory; one that is damaged, or has another layout, is empty."""
        try:
            reader = pa.ipc.open_file(_sealed(file))
            if reader.schema.metadata != {b"layout": LAYOUT} or not reader.schema.equals(CACHED):
                return cls(file)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            for batch in batches:
                batch.validate(full=True)  # to read an array with wrong buffers can end the process
            return cls(file, BatchedTable(CACHED, batches))
        except FileNotFoundError:
            return cls(file)
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            log.warning(f"{error}. Every file is read again")
            return cls(file)

    def find(self, listing: Listing) -> Int64[np.ndarray, "listed"]:
        """Return for each entry the row of the verdict on it, where its size, time and inode are unchanged; else -1."""
        found = np.full(len(listing), -1, np.int64)
        keys = _keys(self.kept)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for block in blocks(len(listing) if len(keys) else 0):
            block = block[listing.readable[block]]
            rows = order[np.minimum(np.searchsorted(keys, listing.keys[block]), len(keys) - 1)]
            self._invalidate_changed(listing, block, rows, found)
        return found

    def _invalidate_changed(
        self,
        listing: Listing,
        block: Int64[np.ndarray, "b"],
        rows: Int64[np.ndarray, "b"],
        found: Int64[np.ndarray, "n"],
    ) -> None:
        """Write the rows of verdicts on unchanged files to `found`; verdicts on earlier states of a file are not kept."""
        listed, verdicts = listing.table.take(block, UNCHANGED), self.kept.take(rows, UNCHANGED)
        same = [pc.equal(listed[name], verdicts[name]).to_numpy() for name in UNCHANGED]
        unchanged = np.logical_and.reduce(same)
        found[block[unchanged]] = rows[unchanged]
        self.valid[rows[same[0] & ~unchanged]] = False

    def add(self, entry: Entry, verdict: Verdict) -> int:
        """Store the verdict on a file under one of its names; return its row, behind those of the kept verdicts."""
        size, mtime_ns, inode, width, height, digest, reason, detail, thumbnail = verdict
        if not inode:  # it could not be opened
            size, mtime_ns, inode = entry.size, entry.mtime_ns, entry.inode
        rest = bytes.fromhex(digest) or None, reason, detail, base64.b64decode(thumbnail)
        self.changed = True
        return len(self.kept) + self.added.append((entry.path, size, mtime_ns, inode, width, height, *rest))

    def keep_only(self, rows: Int64[np.ndarray, "m"]) -> None:
        """Forget all kept verdicts but those in these rows."""
        self.valid[:] = False
        self.valid[rows] = True
        self.changed = True

    def replaced_by(self, verdicts: BatchedTable) -> "ScanCache":
        """Return a cache with these verdicts, and those that are kept on other files."""
        renewed = ScanCache(self.file, BatchedTable(CACHED, [*verdicts.batches, *self.kept.batches]))
        renewed.valid[len(verdicts) :] = ~np.isin(_keys(self.kept), _keys(verdicts))
        renewed.changed = True
        return renewed

    def save_if_due(self) -> None:
        """Save the cache from time to time."""
        if time.monotonic() > self.save_after:
            self.save()

    def verdicts(self) -> BatchedTable:
        """Return the kept verdicts, then those that were added."""
        return BatchedTable(CACHED, [*self.kept.batches, *self.added.table().batches])

    def paths(self) -> Iterator[bytes]:
        """Yield the paths of the files on which there is a verdict."""
        for batch in self.verdicts().batches:
            yield from batch["path_bytes"].to_pylist()

    def forget(self, path: bytes) -> None:
        """Remove the verdict on a file whose content has changed while its size and time have not."""
        first = 0
        for batch in self.kept.batches:
            has_path = pc.equal(batch["path_bytes"], path).to_numpy(zero_copy_only=False)
            self.valid[first : first + len(batch)] &= ~has_path
            first += len(batch)
        self.changed = not self.valid.all()
        self.save()

    def save(self) -> None:
        """Write the lasting verdicts; a cache folder that can't be written is reported once."""
        if not self.changed:
            return
        started = time.monotonic()
        with caches.skip_if_unwritable(self.file.parents[1]), atomic.atomic_write(self.file) as part:
            schema = CACHED.with_metadata({b"layout": LAYOUT})
            with part.open("wb") as file, pa.ipc.new_file(file, schema) as writer:
                for batch in self._lasting():
                    writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            integrity.append_digest(part)
        # Saving takes a small share of a long scan, however large the cache has become.
        seconds = time.monotonic() - started
        self.changed, self.save_after = False, time.monotonic() + max(SAVE_SECONDS, 20 * seconds)

    def _lasting(self) -> Iterator[pa.RecordBatch]:
        """Yield the verdicts that are still valid and do not depend on the moment."""
        first = 0
        for batch in self.kept.batches:
            valid = self.valid[first : first + len(batch)]
            first += len(batch)
            yield batch if valid.all() else batch.filter(pa.array(valid))
        for batch in self.added.table().batches:
            transient = pc.is_in(batch["reason"], pa.array(sorted(TRANSIENT_REASONS)))
            settled = pc.less(batch["mtime_ns"], self.started_ns - CLOCK_TICK_NS)
            yield batch.filter(pc.and_(settled, pc.invert(transient)))


def _keys(table: BatchedTable) -> Keys:
    """Return the key of the path of each row."""
    keys = np.empty(len(table), np.int64)
    first = 0
    for batch in table.batches:
        paths: list[bytes] = batch["path_bytes"].to_pylist()
        keys[first : first + len(batch)] = list(map(hash, paths))
        first += len(batch)
    return keys


def _sealed(file: Path) -> pa.Buffer:
    """Return the content of a file that ends in its digest, mapped into memory; DamagedError if that does not match."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise DamagedError(f"{printable(file)} is damaged (no file)")
    with open_nonblocking(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        data = pa.py_buffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
    integrity.check_digest(file, memoryview(data))
    return data.slice(0, size - integrity.DIGEST_SIZE)
