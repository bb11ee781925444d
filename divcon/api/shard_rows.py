"""The shards of a table of features: the rows of some images each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from ..runs import owner
from ..train.encode import CHUNK
from ..train.streamed_rows import RowsAt, stream_rows
from .shards import FinishedShard, Shard

ROWS = "rows.npy"


class JoinedRows:
    """The rows of all shards, in order, mapped from their files."""

    def __init__(self, parts: Sequence[Float32[np.ndarray, "_ d"]]) -> None:
        self.parts, self.starts = parts, np.cumsum([0, *(len(part) for part in parts)])
        self.shape = int(self.starts[-1]), parts[0].shape[1]

    @classmethod
    def of(cls, finished: Sequence[FinishedShard]) -> "JoinedRows":
        """Open the rows of finished shards; some may have none."""
        return cls([np.load(each.folder / ROWS, mmap_mode="r") for each in finished if each.record.sha256])

    def __getitem__(self, positions: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m d"]:
        rows, owners = (
            np.empty((len(positions), self.shape[1]), np.float32),
            np.searchsorted(self.starts, positions, "right"),
        )
        for number, part in enumerate(self.parts):
            own = owners == number + 1
            rows[own] = part[positions[own] - self.starts[number]]
        return rows


def positions_in(shard: Shard, n: int) -> Int64[np.ndarray, " m"]:
    """Return the positions of the images of a shard among n: whole batches of `encode`, so that they are those of one process."""
    batches = -(-n // CHUNK)
    start, stop = (CHUNK * (batches * number // shard.count) for number in (shard.number - 1, shard.number))
    return np.arange(min(n, start), min(n, stop))


def write_rows(folder: Path, positions: Int64[np.ndarray, " m"], rows_at: RowsAt, key: str) -> list[str]:
    """Compute the rows of a shard into its folder, and go on with those that are there; return the name of the file."""
    if not len(positions):
        return []
    stream_rows(folder / ROWS, positions, rows_at, key, lambda: owner.check(folder))
    return [ROWS]
