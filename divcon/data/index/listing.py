"""The listing of a source: every entry in it, as a table."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from ..sources.source import Entry
from .batched import BatchedTable, GrowingTable

LISTED = pa.schema(
    [
        ("path_bytes", pa.binary()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("inode", pa.uint64()),
        ("device", pa.uint64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("offset", pa.int64()),
    ]
)
assert LISTED.names[1:] == [*Entry._fields[1:]]

Keys = Int64[np.ndarray, "n"]  # of paths: equal paths have equal keys in one process


@dataclass(frozen=True)
class Listing:
    """The entries of a source, the key of the path of each, and True for those without a reason to reject them."""

    table: BatchedTable
    keys: Keys
    readable: Bool[np.ndarray, "n"]

    @classmethod
    def of(cls, entries: Iterable[Entry], cache: Path) -> "Listing":
        """Write the entries of a source into a table."""
        growing, keys = GrowingTable(LISTED, cache), array("q")
        for entry in entries:
            keys.append(hash(entry.path))
            growing.append(entry)
        table = growing.table()
        readable = [pc.equal(batch["reason"], "").to_numpy(zero_copy_only=False) for batch in table.batches]
        return cls(table, np.frombuffer(keys, np.int64), np.concatenate([np.empty(0, np.bool_), *readable]))

    def __len__(self) -> int:
        return len(self.keys)

    def entries(self, rows: Int64[np.ndarray, "m"]) -> list[Entry]:
        """Return the entries at these rows."""
        columns = [column.to_pylist() for column in self.table.take(rows).columns]
        return [Entry(*values) for values in zip(*columns)]
