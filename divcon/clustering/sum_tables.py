"""Tables of integer sums for several threads: a table each, or, where tables are large, fewer tables that they take in turn."""

import contextlib
from collections.abc import Iterator
from queue import LifoQueue

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

MORE_BYTES = 2**28  # of tables beside the first one: 8 k d bytes each
Table = Int64[np.ndarray, "k d"]


class SumTables:
    """Tables whose sum is `total`, once they are added up. The first one is `total` itself."""

    def __init__(self, total: Int64[Tensor, "k d"], threads: int) -> None:
        self.total: Table = total.numpy()
        more = min(threads - 1, MORE_BYTES // max(1, self.total.nbytes))
        self.free: LifoQueue[Table | None] = LifoQueue()
        for table in (*[None] * more, self.total):  # None: a table that nobody has needed yet
            self.free.put(table)

    @contextlib.contextmanager
    def table(self) -> Iterator[NDArray[np.int64]]:
        """Yield a table that no other thread uses meanwhile; wait until one is free."""
        table = self.free.get()
        table = np.zeros_like(self.total) if table is None else table
        try:
            yield table
        finally:
            self.free.put(table)

    def add_up(self) -> None:
        """Add the other tables to `total`."""
        while not self.free.empty():
            table = self.free.get()
            if table is not None and table is not self.total:
                self.total += table
