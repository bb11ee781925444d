"""The nearest rows of a file that need not fit into memory."""

from collections.abc import Iterable

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
    found = [nearest_of_blocks(part, _blocks(bank), k, precision) for part in _blocks(queries)]
    return torch.cat([cosines for cosines, _ in found]), torch.cat([rows for _, rows in found])


def nearest_of_blocks(
    queries: Float32[Tensor, "q d"], blocks: Iterable[Float32[Tensor, "b d"]], k: int, precision: Precision = "fp32"
) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """Return the k nearest rows of a bank that comes in blocks; ties keep the order of rows."""
    cosines, rows, start = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64), 0
    for block in blocks:
        found, numbers = nearest(queries, block, min(k, len(block)), precision=precision)
        cosines, order = torch.cat([cosines, found], 1).sort(dim=1, descending=True, stable=True)
        rows = torch.cat([rows, numbers + start], 1).gather(1, order)
        cosines, rows, start = cosines[:, :k], rows[:, :k], start + len(block)
    return cosines, rows


def _blocks(x: Features) -> Iterable[Float32[Tensor, "b d"]]:
    for start in range(0, len(x), BLOCK):
        part = x[start : start + BLOCK]
        yield part.float() if isinstance(part, Tensor) else torch.from_numpy(np.array(part, np.float32))
