"""Long tables in little memory: batches of rows, which lie in a temporary file that is mapped into memory.

A file of a collection costs some hundred bytes in these tables, and ten million are common. Mapped pages belong to
their file: they are given back when memory is short.
"""

import mmap
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from ...files import atomic
from ...files.disk_errors import disk_errors

ROWS = 16_384  # of a batch; a shorter table has no file
ALIGNMENT = 64  # bytes, as in Arrow's own files

Rows = Int64[np.ndarray, "n"]


class BatchedTable:
    """Batches of one schema, as one table whose rows can be taken in any order."""

    def __init__(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch]):
        self.schema, self.batches = schema, [batch for batch in batches if len(batch)]
        self.ends = np.cumsum([len(batch) for batch in self.batches], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def take(self, rows: Rows, columns: Sequence[str] | None = None) -> pa.Table:
        """Return these rows. Each batch is asked for its own: pyarrow would first copy all batches into one."""
        numbers = np.searchsorted(self.ends, rows, side="right")
        order = np.argsort(numbers, kind="stable")
        parts = [self._part(numbers[some[0]], rows[some], columns) for some in _runs(numbers, order)]
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        gathered = pa.Table.from_batches(parts, schema).combine_chunks()
        in_order = len(parts) < 2 or bool((order[1:] > order[:-1]).all())
        return gathered if in_order else gathered.take(pa.array(np.argsort(order)))

    def _part(self, number: int, rows: Rows, columns: Sequence[str] | None) -> pa.RecordBatch:
        batch = self.batches[number] if columns is None else self.batches[number].select(columns)
        return batch.take(pa.array(rows - (self.ends[number] - len(batch))))


def _runs(numbers: Rows, order: Rows) -> list[Rows]:
    """Divide `order` where the numbers change."""
    if not len(order):
        return []
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def blocks(n: int, rows: int | None = None) -> Iterable[Rows]:
    """Yield the numbers from 0 to n in blocks of so many, or of as many as a batch has rows."""
    rows = rows or ROWS
    return (np.arange(begin, min(begin + rows, n)) for begin in range(0, n, rows))


class GrowingTable:
    """A table that grows by rows; each full batch goes to a temporary file, in the cache folder where it can be written."""

    def __init__(self, schema: pa.Schema, cache: Path):
        self.schema, self.cache = schema, cache
        self.file: IO[bytes] | None = None
        self.places: list[tuple[int, int]] = []  # where each batch begins in the file, and its bytes
        self.rows: list[Sequence[object]] = []

    def __len__(self) -> int:
        return ROWS * len(self.places) + len(self.rows)

    def append(self, row: Sequence[object]) -> int:
        """Add a row, with a value for each column; return its number."""
        self.rows.append(row)
        number = len(self) - 1
        if len(self.rows) == ROWS:
            self._write(batch_of(self.rows, self.schema))
            self.rows = []
        return number

    def table(self) -> BatchedTable:
        """Return the rows so far."""
        return BatchedTable(self.schema, [*self._mapped(), batch_of(self.rows, self.schema)])

    def _write(self, batch: pa.RecordBatch) -> None:
        self.file = self.file or temporary_file(self.cache)
        data = batch.serialize()
        with disk_errors(self.cache):
            begin = self.file.seek(-(-self.file.seek(0, os.SEEK_END) // ALIGNMENT) * ALIGNMENT)
            self.file.write(data)
            self.file.flush()
        self.places.append((begin, data.size))

    def _mapped(self) -> list[pa.RecordBatch]:
        if self.file is None:
            return []
        data = pa.py_buffer(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ))
        return [pa.ipc.read_record_batch(data.slice(begin, size), self.schema) for begin, size in self.places]


def batch_of(rows: Sequence[Sequence[object]], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows, each with a value for each column, as a batch."""
    columns = zip(*rows) if rows else [()] * len(schema)
    return pa.record_batch([pa.array(values, field.type) for values, field in zip(columns, schema)], schema=schema)


def temporary_file(cache: Path) -> IO[bytes]:
    """Return a file without a name: nothing of it is left when the process ends, however it ends."""
    try:
        atomic.make_folder(cache)
        return tempfile.TemporaryFile(dir=cache)
    except OSError:  # a cache that can't be written ends no command
        return tempfile.TemporaryFile()
