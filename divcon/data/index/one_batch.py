"""Blocks of rows as one batch, as if the whole table had been in memory.

An index is one batch in its file, so that its columns are arrays without a copy when the file is mapped. A long one is
put together in temporary files, one for each buffer of each column.
"""

import mmap
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray

from ...files.disk_errors import disk_errors
from .batched import temporary_file

MAX_BYTES = 2**31 - 1  # of the texts of a column in one batch


def in_one_batch(blocks: Iterable[pa.Table], schema: pa.Schema, cache: Path) -> pa.Table:
    """Return the blocks as a table of one batch; of more where the texts of one column have over 2 GB.

    Every block but the last one has a multiple of 8 rows.
    """
    left = iter(blocks)
    first = list(islice(left, 2))
    if len(first) < 2:
        return pa.concat_tables(first).combine_chunks() if first else schema.empty_table()
    return pa.Table.from_batches(_batches(chain(first, left), schema, cache), schema)


def _batches(blocks: Iterator[pa.Table], schema: pa.Schema, cache: Path) -> Iterator[pa.RecordBatch]:
    columns = [_Column(field.type, cache) for field in schema]
    with disk_errors(cache):
        for block in blocks:
            arrays = [column.combine_chunks() for column in block.columns]
            if any(column.is_full(array) for column, array in zip(columns, arrays)):
                yield pa.record_batch([column.array() for column in columns], schema=schema)
                columns = [_Column(field.type, cache) for field in schema]
            for column, array in zip(columns, arrays):
                column.append(array)
        yield pa.record_batch([column.array() for column in columns], schema=schema)


class _Column:
    """A column that grows by blocks; the bytes of its buffers lie in files."""

    def __init__(self, kind: pa.DataType, cache: Path):
        self.kind, self.has_texts = kind, kind in (pa.string(), pa.binary())
        self.length = self.nulls = self.text_bytes = 0
        self.validity, self.data = temporary_file(cache), temporary_file(cache)
        self.offsets = temporary_file(cache) if self.has_texts else None
        if self.offsets is not None:
            self.offsets.write(bytes(4))

    def is_full(self, array: pa.Array) -> bool:
        return self.has_texts and self.text_bytes + array.nbytes > MAX_BYTES

    def append(self, array: pa.Array) -> None:
        assert self.length % 8 == 0  # a validity has a bit for each row
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        self.validity.write(np.packbits(valid, bitorder="little").tobytes())
        values = self._texts(array) if self.offsets is not None else self._values(array, valid)
        self.data.write(values.tobytes())
        self.length += len(array)
        self.nulls += array.null_count

    def array(self) -> pa.Array:
        validity = _mapped(self.validity) if self.nulls else None
        buffers = [validity, *([_mapped(self.offsets)] if self.offsets is not None else []), _mapped(self.data)]
        return pa.Array.from_buffers(self.kind, self.length, buffers, self.nulls)

    def _texts(self, array: pa.Array) -> NDArray[np.uint8]:
        assert self.offsets is not None
        _, offset_buffer, data = array.buffers()
        offsets = np.frombuffer(offset_buffer, np.int32)[array.offset :][: len(array) + 1]
        self.offsets.write((offsets[1:] + np.int32(self.text_bytes - int(offsets[0]))).tobytes())
        self.text_bytes += int(offsets[-1]) - int(offsets[0])
        return np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]

    def _values(self, array: pa.Array, valid: Bool[np.ndarray, "rows"]) -> UInt8[np.ndarray, "rows width"]:
        width = self.kind.bit_width // 8
        data = np.frombuffer(array.buffers()[1], np.uint8)[width * array.offset :][: width * len(array)]
        values = data.reshape(len(array), width)
        return values if valid.all() else np.where(valid[:, None], values, np.uint8(0))


def _mapped(file: IO[bytes]) -> pa.Buffer:
    file.flush()
    size = file.seek(0, 2)
    return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
