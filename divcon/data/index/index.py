"""The index of a collection: every file that was found, used or not and why.

The used images come first, sorted by the SHA-256 of their encoded bytes. The POSITION of an image is its rank there, and
the fingerprint of the collection is computed from those hashes alone. A path is only a name.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64, UInt8
from numpy.typing import NDArray

from ...errors import DamagedError, few
from ...files import atomic, integrity
from ...files.text import printable
from ...runs.folder import DUPLICATES, INDEX, MANIFEST, REJECTED
from .build_table import build_table
from .csv_table import write_csv
from .table import HASH_BYTES, SCHEMA, Found, NearDuplicates, check_table, found_files, hashes_of, positions_of

T = TypeVar("T", bound=np.generic)

FILES = (INDEX, REJECTED, DUPLICATES)
BLOCK = 65_536  # images whose hashes are gathered at a time


@dataclass(frozen=True, eq=False)
class Index:
    """A table of SCHEMA (table.py): the used images, then the duplicates, then the rejected files."""

    table: pa.Table

    @classmethod
    def of(cls, found: Iterable[Found], near_duplicates: NearDuplicates = "keep") -> Self:
        """Build the index of some files."""
        return cls(build_table(found_files(found), near_duplicates, Path(tempfile.gettempdir())))

    @property
    def found(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def used(self) -> int:
        return self._count("used")

    @cached_property
    def duplicates(self) -> int:
        return self._count("duplicate")

    @cached_property
    def rejected(self) -> int:
        return self._count("rejected")

    @property
    def near_duplicates(self) -> int:
        """The number of images that look like another used one; when kept they are used, when dropped duplicates."""
        original = self.table["duplicate_of"]
        near = pc.and_(pc.is_valid(original), pc.not_equal(original, self.table["hash"]))
        return int(pc.sum(near).as_py() or 0)

    def _count(self, status: str) -> int:
        return int(pc.sum(pc.equal(self.table["status"], status)).as_py() or 0)

    @property
    def lost_folders(self) -> list[bytes]:
        """The folders and shards that could not be read because of an error of the disk."""
        lost = self.rejected_rows.filter(pc.equal(self.rejected_rows["reason"], "io_error"))["path_bytes"].to_pylist()
        return [path for path in lost if path.endswith(b"/")]

    @property
    def reasons(self) -> dict[str, int]:
        """The number of rejected files for each reason, the commonest first."""
        counts = pc.value_counts(self.rejected_rows["reason"]).to_pylist()
        return _by_count({row["values"]: row["counts"] for row in counts})

    @property
    def image_warnings(self) -> dict[str, int]:
        """The number of used images for each warning (docs/formats.md), the commonest first."""
        counts = Counter[str]()
        for row in pc.value_counts(self._used["detail"]).to_pylist():
            for warning in filter(None, row["values"].split(", ")):
                counts[warning.partition("=")[0]] += row["counts"]
        return _by_count(counts)

    @property
    def summary(self) -> str:
        """The counts in a line: "found 6,917: used 6,800, duplicates 30, rejected 87 (truncated 3, ...)"."""
        why = ", ".join(f"{reason} {n:,}" for reason, n in self.reasons.items())
        counts = f"used {self.used:,}, duplicates {self.duplicates:,}, rejected {self.rejected:,}"
        near = f"; near-duplicates {self.near_duplicates:,}" if self.near_duplicates else ""
        return f"found {self.found:,}: {counts}{f' ({why})' if why else ''}{near}"

    @cached_property
    def widths(self) -> Int32[np.ndarray, "used"]:
        return _concatenate([chunk.to_numpy() for chunk in self._used["width"].chunks], np.int32)

    @cached_property
    def heights(self) -> Int32[np.ndarray, "used"]:
        return _concatenate([chunk.to_numpy() for chunk in self._used["height"].chunks], np.int32)

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "used"]:
        """The number of encoded bytes of each used image."""
        return _concatenate([chunk.to_numpy() for chunk in self._used["bytes"].chunks], np.int64)

    @cached_property
    def offsets(self) -> Int64[np.ndarray, "used"]:
        """The offset of each used image in its shard, in bytes; -1 for a file of its own."""
        return _concatenate([chunk.to_numpy() for chunk in self._used["offset"].chunks], np.int64)

    @cached_property
    def hashes(self) -> UInt8[np.ndarray, "used 32"]:
        """The SHA-256 of each used image."""
        flat = _concatenate([_bytes_of(chunk) for chunk in self._used["hash"].chunks], np.uint8)
        return flat.reshape(-1, HASH_BYTES)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.hashes)

    @property
    def _used(self) -> pa.Table:
        return self.table.slice(0, self.used)

    @property
    def _duplicates(self) -> pa.Table:
        return self.table.slice(self.used, self.duplicates)

    @property
    def rejected_rows(self) -> pa.Table:
        """The rejected files, by path."""
        return self.table.slice(self.used + self.duplicates)

    def limited(self, n: int) -> "Index":
        """Return the index of the first n images by position and their duplicates, as if the others did not exist."""
        used = self._used.slice(0, n)
        copies = self._duplicates.filter(pc.is_in(self._duplicates["duplicate_of"], used["hash"].combine_chunks()))
        return Index(pa.concat_tables([used, copies, self.rejected_rows]).combine_chunks())

    def save(self, folder: Path, source: str = "") -> None:
        """Write index.arrow, the tables rejected.csv and duplicates.csv, and last MANIFEST.json with their hashes.

        `source` is the digest of a source's state (source_state.py), which stands in the manifest too.
        """
        (folder / MANIFEST).unlink(missing_ok=True)
        file = folder / INDEX
        with atomic.atomic_write(file) as part, part.open("wb") as opened, pa.ipc.new_file(opened, SCHEMA) as writer:
            writer.write_table(self.table)
        self.save_rejected(folder / REJECTED)
        write_csv(folder / DUPLICATES, ["path", "same_as", "kind"], self._duplicate_rows())
        hashes = {name: integrity.sha256(folder / name) for name in FILES}
        integrity.write_json(folder / MANIFEST, {"sha256": hashes, **({"source": source} if source else {})})

    def save_rejected(self, file: Path) -> None:
        """Write a table of all rejected files and their reasons."""
        columns = ["path_bytes", "reason", "detail"]
        write_csv(file, ["path", "reason", "detail"], _rows_of(self.rejected_rows.select(columns)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a saved index, mapped into memory; DamagedError where it differs from its hashes."""
        advice = f"Make it again: divcon index DATA out={printable(folder)}, or, in a run, type its divcon run again"
        if wrong := integrity.mismatches(folder / MANIFEST):
            raise DamagedError(f"{few(wrong, '; ')}. {advice}")
        try:
            with pa.memory_map(str((folder / INDEX).absolute())) as file:
                return cls(check_table(pa.ipc.open_file(file).read_all()))
        except (OSError, pa.ArrowException, ValueError) as error:
            why = printable(str(error))
            raise DamagedError(f"{printable(folder)}/index.arrow can't be read ({why}). {advice}") from error

    def _duplicate_rows(self) -> Iterable[Sequence[bytes | str]]:
        """Yield the path of each duplicate, the path of its original, and its kind."""
        duplicates = self.table.filter(pc.is_valid(self.table["duplicate_of"]))
        names = self._used["path_bytes"]
        for begin in range(0, len(duplicates), BLOCK):
            block = duplicates.slice(begin, BLOCK)
            originals = positions_of(hashes_of(block["duplicate_of"]), self.hashes)
            columns = block.select(["path_bytes", "hash", "status", "duplicate_of"])
            rows = zip(_rows_of(columns), names.take(pa.array(originals)).to_pylist())
            for (path, digest, status, duplicate_of), original in rows:
                near = "near_kept" if status == "used" else "near_dropped"
                yield path, original, "copy" if digest == duplicate_of else near


def _rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as tuples; only some are in memory."""
    for batch in table.to_batches(max_chunksize=BLOCK):
        yield from zip(*(column.to_pylist() for column in batch.columns))


def fingerprint(hashes: UInt8[np.ndarray, "n 32"], rows: Int64[np.ndarray, "m"] | None = None) -> str:
    """Return the digest of these hashes, or of those at `rows`, in this order."""
    digest = hashlib.sha256()
    for begin in range(0, len(hashes if rows is None else rows), BLOCK):
        block = slice(begin, begin + BLOCK)
        digest.update(hashes[block if rows is None else rows[block]].tobytes())
    return digest.hexdigest()


def _by_count(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _concatenate(chunks: list[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    """Return the chunks as one array; a single chunk, as a loaded index has, is returned without a copy."""
    return chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, dtype), *chunks])


def _bytes_of(hashes: pa.FixedSizeBinaryArray) -> UInt8[np.ndarray, "bytes"]:
    """Return the bytes of an array of hashes, without a copy."""
    return np.frombuffer(hashes.buffers()[1], np.uint8)[HASH_BYTES * hashes.offset :][: HASH_BYTES * len(hashes)]
