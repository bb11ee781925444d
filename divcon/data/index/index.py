"""What a collection holds: every file that was found, used or not and why.

Used images come first, sorted by the SHA-256 of their encoded bytes: an image's POSITION is its rank there, and the
collection's fingerprint is made of those hashes alone. A path is only a name.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int32, Int64, UInt8
from numpy.typing import NDArray

from ...errors import DamagedError, few
from ...files import atomic, integrity
from ...files.text import printable
from ...runs.folder import DUPLICATES, INDEX, MANIFEST, REJECTED
from ..sources.names import hidden
from .near_duplicates import LOOKS, find_near_duplicates

FILES = (INDEX, REJECTED, DUPLICATES)
Near = Literal["keep", "drop"]  # what becomes of pictures that look like another
HASH = 32  # bytes of a SHA-256
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # a spreadsheet begins to reckon; the last four are wide
BLOCK = 65_536  # images whose hashes are gathered at a time
SCHEMA = pa.schema(
    [
        ("source", pa.binary()),  # the path below the folder; of what is in a shard, the shard's and its name there
        ("width", pa.int32()),  # as seen: upright
        ("height", pa.int32()),
        ("offset", pa.int64()),  # where it begins in its shard; -1: it is a file of its own
        ("bytes", pa.int64()),
        ("hash", pa.binary(HASH)),  # null where the file could not be read
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("like", pa.binary(HASH)),  # of the used image that it equals or looks like; else null
    ]
)


class Found(NamedTuple):
    """A file that the scan came upon; without a reason against it, it is an image."""

    source: bytes
    width: int = 0
    height: int = 0
    size: int = 0
    hash: bytes | None = None
    reason: str = ""
    detail: str = ""
    looks: bytes = b""  # from afar (near.py)
    offset: int = -1  # in a shard


class _Row(NamedTuple):
    """A file, and what became of it."""

    source: bytes
    width: int
    height: int
    size: int
    hash: bytes | None
    reason: str
    detail: str
    status: str
    like: bytes | None
    offset: int

    @classmethod
    def of(cls, file: Found, status: str, like: bytes | None = None) -> Self:
        return cls(*file[:7], status, like, file.offset)


@dataclass(frozen=True, eq=False)
class Index:
    """A table of SCHEMA: the used, then the duplicates, then the rejected, these two sorted by path."""

    table: Any

    @classmethod
    def of(cls, found: Iterable[Found], near_duplicates: Near = "keep") -> Self:
        """Of files with the same bytes, the used one is that whose path is first in byte order, those that nobody sees
        (names.py) last; of pictures that look alike, when they are dropped, the one whose hash comes first."""
        found = sorted(found)
        unique: dict[bytes, Found] = {}
        for file in sorted(found, key=lambda file: hidden(file.source)):
            if not file.reason:
                unique.setdefault(file.hash or b"", file)
        different = [unique[digest] for digest in sorted(unique)]
        like = _like(different)
        kept = {file.source for file in different if near_duplicates == "keep" or file.hash not in like}
        used = [_Row.of(file, "used", like.get(file.hash)) for file in different if file.source in kept]
        left = [file for file in found if not file.reason and file.source not in kept]
        hashes = {row.hash for row in used}
        duplicates = [
            _Row.of(file, "duplicate", file.hash if file.hash in hashes else like[file.hash]) for file in left
        ]
        rejected = [_Row.of(file, "rejected") for file in found if file.reason]
        assert len(found) == len(used) + len(duplicates) + len(rejected)
        return cls(_table([*used, *duplicates, *rejected]))

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
        """How many look like another that is used: they are among the used when kept, among the duplicates when dropped."""
        near = pc.and_(pc.is_valid(self.table["like"]), pc.not_equal(self.table["like"], self.table["hash"]))
        return int(pc.sum(near).as_py() or 0)

    def _count(self, status: str) -> int:
        return int(pc.sum(pc.equal(self.table["status"], status)).as_py() or 0)

    @property
    def lost_folders(self) -> list[bytes]:
        """Whole folders, and shards, that could not be read for a fault of the disk."""
        lost = self._rejected.filter(pc.equal(self._rejected["reason"], "io_error"))["source"].to_pylist()
        return [source for source in lost if source.endswith(b"/")]

    @property
    def reasons(self) -> dict[str, int]:
        """How many were rejected for each reason, the commonest first."""
        counts = pc.value_counts(self._rejected["reason"]).to_pylist()
        return {row["values"]: row["counts"] for row in sorted(counts, key=lambda row: (-row["counts"], row["values"]))}

    @property
    def notes(self) -> dict[str, int]:
        """How many of the used images have something worth knowing (notes.py), the commonest first."""
        notes = self._used.filter(pc.not_equal(self._used["detail"], ""))["detail"].to_pylist()
        counts = Counter(note.partition("=")[0] for detail in notes for note in detail.split(", "))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def summary(self) -> str:
        """In a line: "found 6,917: used 6,800, duplicates 30, rejected 87 (truncated 3, ...)"."""
        why = ", ".join(f"{reason} {n:,}" for reason, n in self.reasons.items())
        counts = f"used {self.used:,}, duplicates {self.duplicates:,}, rejected {self.rejected:,}"
        near = f"; near-duplicates {self.near_duplicates:,}" if self.near_duplicates else ""
        return f"found {self.found:,}: {counts}{f' ({why})' if why else ''}{near}"

    @cached_property
    def widths(self) -> Int32[np.ndarray, "used"]:
        return self._numbers("width")

    @cached_property
    def heights(self) -> Int32[np.ndarray, "used"]:
        return self._numbers("height")

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "used"]:
        return self._numbers("bytes")

    @cached_property
    def offsets(self) -> Int64[np.ndarray, "used"]:
        return self._numbers("offset")

    def _numbers(self, name: str) -> NDArray[Any]:
        """A column of the used images, where it lies in the table: of an index that was loaded, in the mapped file."""
        return _joined(
            [chunk.to_numpy() for chunk in self._used[name].chunks], np.dtype(SCHEMA.field(name).type.to_pandas_dtype())
        )

    @cached_property
    def hashes(self) -> UInt8[np.ndarray, "used 32"]:
        return _joined([_bytes_of(chunk) for chunk in self._used["hash"].chunks], np.dtype(np.uint8)).reshape(-1, HASH)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.hashes)

    @property
    def _used(self) -> Any:
        return self.table.slice(0, self.used)

    @property
    def _duplicates(self) -> Any:
        return self.table.slice(self.used, self.duplicates)

    @property
    def _rejected(self) -> Any:
        return self.table.slice(self.used + self.duplicates)

    def limited(self, n: int) -> "Index":
        """Only the first n images by position (and their duplicates): the others are as if never found."""
        kept = self._used.slice(0, n)
        copies = self._duplicates.filter(pc.is_in(self._duplicates["like"], kept["hash"].combine_chunks()))
        return Index(pa.concat_tables([kept, copies, self._rejected]).combine_chunks())

    def save(self, folder: Path) -> None:
        """index.arrow, and what was left out in two tables that open anywhere; last MANIFEST.json with their hashes."""
        (folder / MANIFEST).unlink(missing_ok=True)
        file = folder / INDEX
        with atomic.atomic_write(file) as part, part.open("wb") as opened, pa.ipc.new_file(opened, SCHEMA) as writer:
            writer.write_table(self.table)
        self.save_rejected(folder / REJECTED)
        _write_csv(folder / DUPLICATES, ["path", "same_as", "kind"], self._same())
        hashes = {name: integrity.sha256(folder / name) for name in FILES}
        integrity.write_json(folder / MANIFEST, {"sha256": hashes})

    def save_rejected(self, file: Path) -> None:
        """All that were rejected, in a table that opens anywhere."""
        rejected = self._rejected.select(["source", "reason", "detail"]).to_pylist()
        _write_csv(file, ["path", "reason", "detail"], (row.values() for row in rejected))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Checked against its hashes, then mapped: however long it is, it takes no memory. DamagedError where it differs."""
        wrong = integrity.mismatches(folder / MANIFEST)
        if wrong:
            raise DamagedError(f"{few(wrong, '; ')}. Make it again: divcon index DATA out={printable(folder)}")
        try:
            with pa.memory_map(str((folder / INDEX).absolute())) as file:
                return cls(_sound(pa.ipc.open_file(file).read_all()))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DamagedError(
                f"{printable(folder)}/index.arrow can't be read ({printable(str(error))}). "
                f"Make it again: divcon index DATA out={printable(folder)}"
            ) from error

    def _same(self) -> Iterable[Sequence[bytes | str]]:
        """Each path that equals or looks like another's, that other, and which of the two, and what became of it."""
        alike = self.table.filter(pc.is_valid(self.table["like"]))
        at = pc.index_in(alike["like"], self._used["hash"].combine_chunks())
        others = self._used["source"].take(at).to_pylist()
        for row, other in zip(alike.select(["source", "hash", "status", "like"]).to_pylist(), others):
            dropped = "near_kept" if row["status"] == "used" else "near_dropped"
            yield row["source"], other, "copy" if row["hash"] == row["like"] else dropped


def fingerprint(hashes: UInt8[np.ndarray, "n 32"], rows: Int64[np.ndarray, "m"] | None = None) -> str:
    """The digest of these images, or of those at `rows`, in this order."""
    digest = hashlib.sha256()
    for begin in range(0, len(hashes if rows is None else rows), BLOCK):
        block = slice(begin, begin + BLOCK)
        digest.update(hashes[block if rows is None else rows[block]].tobytes())
    return digest.hexdigest()


def _joined(parts: list[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The parts behind one another: of a table in one piece, as it is read from a file, the piece itself."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])


def _bytes_of(hashes: Any) -> UInt8[np.ndarray, "bytes"]:
    """The bytes of an array of hashes, where they lie."""
    return np.frombuffer(hashes.buffers()[1], np.uint8)[HASH * hashes.offset :][: HASH * len(hashes)]


def _like(different: Sequence[Found]) -> dict[bytes | None, bytes | None]:
    """The hash of each picture that looks like one before it, and that one's hash."""
    seen = [file for file in different if file.looks]
    sums = np.frombuffer(b"".join(file.looks for file in seen), np.uint8).reshape(-1, LOOKS)
    twin = find_near_duplicates(sums, np.array([file.width / file.height for file in seen]))
    return {file.hash: seen[int(at)].hash for file, at in zip(seen, twin) if at >= 0}


def _table(rows: Sequence[_Row]) -> Any:
    columns = list(zip(*rows)) if rows else [()] * len(_Row._fields)
    named = dict(zip(_Row._fields, columns))
    named["bytes"] = named.pop("size")
    return pa.table({name: named[name] for name in SCHEMA.names}, SCHEMA)


def _sound(table: Any) -> Any:
    """The table, if it is an index; to read an array whose parts do not fit can end the process."""
    table.validate(full=True)
    if not table.schema.equals(SCHEMA):
        raise ValueError("it has other columns than an index")
    order = pc.index_in(table["status"], pa.array(["used", "duplicate", "rejected"])).to_numpy()
    used = int((order == 0).sum())
    if np.isnan(order).any() or (np.diff(order) < 0).any() or table["hash"].slice(0, used).null_count:
        raise ValueError("its rows are not in the order of an index")
    return table


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[bytes | str]]) -> None:
    with atomic.atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(cell) for cell in row] for row in rows)


def _cell(value: bytes | str) -> str:
    """Safe to show, and no formula to a spreadsheet: a path that begins like one is the same path from here."""
    text = printable(value)
    return f"./{text}" if text.startswith(FORMULA) else text
