"""Shards of a table of features: several processes compute one each, on any machines that see the same folder, and the one that
finishes last joins them."""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ..errors import DamagedError, DataError, OwnedError, UsageError
from ..files.atomic import remove_folder
from ..files.integrity import mismatches, sha256, write_json
from ..files.text import printable
from ..log import info, warning
from ..runs import owner
from ..runs.folder import MANIFEST
from ..runs.json_files import load_record
from ..train.encode import CHUNK
from ..train.streamed_rows import RowsAt, forget_parts, stream_rows

ROWS = "rows.npy"
FORM = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Shard:
    """One of `count` shards, numbered from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that a text like 3/8 names; UsageError for any other text."""
        match = FORM.fullmatch(text)
        shard = cls(int(match[1]), int(match[2])) if match else None
        if shard is None or not 1 <= shard.number <= shard.count:
            raise UsageError(f"--shard {printable(text)}: type its number and that of all, from 1/8 to 8/8")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def positions(self, n: int) -> Int64[np.ndarray, " m"]:
        """Return the positions of its images among n: whole batches of `encode`, so that they are those of one process."""
        batches = -(-n // CHUNK)
        start, stop = (CHUNK * (batches * number // self.count) for number in (self.number - 1, self.number))
        return np.arange(min(n, start), min(n, stop))

    def folder(self, shards: Path) -> Path:
        return shards / f"{self.number}-of-{self.count}"

    def all(self) -> list["Shard"]:
        """Return all shards, this one among them."""
        return [Shard(number, self.count) for number in range(1, self.count + 1)]


@dataclass(frozen=True)
class ShardRecord:
    """The manifest of a finished shard: the digest of all that its rows depend on, and the hash of its file."""

    key: str
    rows: int
    sha256: dict[str, str]


class JoinedRows:
    """The rows of all shards, in order, mapped from their files."""

    def __init__(self, parts: Sequence[Float32[np.ndarray, "_ d"]]) -> None:
        self.parts, self.starts = parts, np.cumsum([0, *(len(part) for part in parts)])
        self.shape = int(self.starts[-1]), parts[0].shape[1]

    def __getitem__(self, positions: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m d"]:
        rows, owners = (
            np.empty((len(positions), self.shape[1]), np.float32),
            np.searchsorted(self.starts, positions, "right"),
        )
        for number, part in enumerate(self.parts):
            own = owners == number + 1
            rows[own] = part[positions[own] - self.starts[number]]
        return rows


def finish_shard(shards: Path, shard: Shard, n: int, rows_at: RowsAt, key: str) -> None:
    """Compute the rows of a shard, unless it is finished; a process that was killed is gone on with."""
    folder = shard.folder(shards)
    with owner.owned(folder):
        if _record(folder, key) is not None:
            info(f"shard {shard} is finished already")
            return
        positions, hashes = shard.positions(n), dict[str, str]()
        if len(positions):
            stream_rows(folder / ROWS, positions, rows_at, key, lambda: owner.check(folder))
            hashes = {ROWS: sha256(folder / ROWS)}
        write_json(folder / MANIFEST, asdict(ShardRecord(key, len(positions), hashes)))
        forget_parts(folder / ROWS)


def join_if_last(shards: Path, shard: Shard, key: str, write: Callable[[JoinedRows], None]) -> list[str]:
    """Write the table if all shards are finished, and remove them; else return those that are not, as typed.

    If two finish at once, one of them joins.
    """
    try:
        with owner.owned(shards):
            waiting = [str(each) for each in shard.all() if not (each.folder(shards) / MANIFEST).is_file()]
            if waiting:
                return waiting
            write(JoinedRows([rows for each in shard.all() for rows in _rows_of(each, shards, key)]))
            for each in shard.all():
                remove_folder(each.folder(shards), MANIFEST)
    except OwnedError:
        info("another process joins the shards")
        return []
    with contextlib.suppress(OSError):  # shards of another number are somebody's, and stay
        shards.rmdir()
    return []


def _record(folder: Path, key: str) -> ShardRecord | None:
    """Return the manifest of a finished shard with this key and intact files; else None."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        record, damage = load_record(ShardRecord, folder / MANIFEST), mismatches(folder / MANIFEST)
    except DamagedError as error:
        record, damage = None, [str(error)]
    if damage:
        warning(f"{'; '.join(damage)}. The shard is computed again")
    if damage or record is None or record.key != key:
        (folder / MANIFEST).unlink()
        return None
    return record


def _rows_of(shard: Shard, shards: Path, key: str) -> list[NDArray[Any]]:
    """Return the mapped rows of a finished shard, or nothing if it has none. DataError for one that does not belong to the
    others."""
    folder = shard.folder(shards)
    record = load_record(ShardRecord, folder / MANIFEST)
    wrong = mismatches(folder / MANIFEST)
    if wrong or record.key != key:
        reason = "; ".join(wrong) or "another model, other images, or another precision of the machine"
        raise DataError(
            f"shard {shard} in {printable(folder)} does not belong to the others ({reason}); remove this folder and type the "
            f"command with --shard {shard} again"
        )
    return [np.load(folder / ROWS, mmap_mode="r")] if record.rows else []
