"""The nearest rows of a file that need not fit into memory."""

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from ..machine import Precision
from .neighbors import nearest
from .rows import Features

BLOCK = 2**16  # rows of the bank, and queries, in memory at a time


def streamed_nearest(
    queries: Features, bank: Features, k: int, precision: Precision = "fp32"
) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """Return what `neighbors.nearest` does, the same bits, from BLOCK rows of each at a time."""
    parts = [
        _nearest(_floats(queries[start : start + BLOCK]), bank, k, precision) for start in range(0, len(queries), BLOCK)
    ]
    return torch.cat([cosines for cosines, _ in parts]), torch.cat([rows for _, rows in parts])


def _nearest(queries: Tensor, bank: Features, k: int, precision: Precision) -> tuple[Tensor, Tensor]:
    """Merge the nearest rows of each block of the bank into those of the blocks before; ties keep the order of rows."""
    cosines, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(bank), BLOCK):
        block = _floats(bank[start : start + BLOCK])
        found, numbers = nearest(queries, block, min(k, len(block)), precision=precision)
        cosines, order = torch.cat([cosines, found], 1).sort(dim=1, descending=True, stable=True)
        rows = torch.cat([rows, numbers + start], 1).gather(1, order)
        cosines, rows = cosines[:, :k], rows[:, :k]
    return cosines, rows


def _floats(part: Features) -> Tensor:
    return part.float() if isinstance(part, Tensor) else torch.from_numpy(np.array(part, np.float32))
