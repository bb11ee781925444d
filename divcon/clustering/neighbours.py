"""The nearest rows by cosine.

Products in low precision propose, and every row that they can't rule out is measured exactly, in float64: so their
precision changes nothing but the time, and neither does the number of threads.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..machine import Precision
from . import held, kernels
from .products import Frame, Lowered, each_block

ROOM = 1024  # rows that a query's list has room for, or twice its neighbours
LISTS = 2**20  # places of all lists of a thread


def nearest(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "n d"], k: int, chunk: int = 512, precision: Precision = "fp32"
) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The k most similar rows of the bank to each query, best first: (cosine, index); of equals, as float32 rounds
    them, the lower index.

    Memory holds a copy of the bank in `precision`, and for each thread the products of `chunk` queries with 4 `chunk`
    rows, and lists of 1024 or 2 k rows a query.
    """
    assert 1 <= k <= len(bank), f"{k} neighbours of {len(bank)} rows"
    if not bank.is_cpu:
        return held.nearest(queries, bank, k, 2 * chunk)
    stored, x = Bank(bank, precision, 4 * chunk), _array(queries)
    size = min(chunk, max(1, LISTS // _room(k)))
    found = each_block(len(x), size, lambda start, stop: stored.search(x[start:stop], k))
    return torch.cat([s for s, _ in found]), torch.cat([i for _, i in found])


class Bank:
    """Directions to be searched: as they came, and in low precision."""

    def __init__(self, bank: Tensor, precision: Precision, block: int) -> None:
        self.x, self.block = _array(bank), block
        self.inverse = _inverse(self.x)
        some = np.linspace(0, len(self.x) - 1, min(1024, len(self.x))).astype(np.int64)
        self.frame = Frame((self.x[some] * self.inverse[some, None]).mean(0), 1.0, precision)
        self.parts = each_block(len(self.x), block, self._lower)

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[Tensor, Tensor]:
        """a.b = (a - o).(b - o) + o.b + (o.a - o.o): of these the first is proposed, and the last is the same for all
        rows of the bank."""
        asked = queries * _inverse(queries)[:, None]
        ones, origin = np.ones(len(asked), np.float32), self.frame.origin
        base, lowered = (
            _along(asked, ones, origin) - _along(origin[None], ones[:1], origin),
            self.frame.lower(asked, ones),
        )
        lists = _lists(len(asked), _room(k))
        for i, (part, margins) in enumerate(self.parts):
            proposed = lowered.times(part, self.frame)
            kernels.collect(proposed, margins, base, i * self.block, k, asked, self.x, self.inverse, lists)
        kernels.settle_all(lists, k, asked, self.x, self.inverse)
        return torch.from_numpy(lists.least[:, :k].copy()), torch.from_numpy(lists.rows[:, :k].astype(np.int64))

    def _lower(self, start: int, stop: int) -> tuple[Lowered, kernels.Margins]:
        x, inverse = self.x[start:stop], self.inverse[start:stop]
        lowered = self.frame.lower(x, inverse)
        # what is added to a product is itself rounded, and so is what comes of it
        spare = np.full(len(x), 4 * self.frame.rounding, np.float32)
        return lowered, kernels.Margins(_along(x, inverse, self.frame.origin), lowered.lengths, spare)


def _room(k: int) -> int:
    return max(ROOM, 2 * k)


def _lists(queries: int, room: int) -> kernels.Lists:
    least, most = np.empty((queries, room), np.float32), np.empty((queries, room), np.float32)
    bottom = np.full(queries, -np.inf, np.float32)
    return kernels.Lists(least, most, np.empty((queries, room), np.int32), np.zeros(queries, np.int64), bottom)


def _array(x: Float[Tensor, "n d"]) -> Float32[np.ndarray, "n d"]:
    rows: NDArray[np.float32] = x.detach().float().contiguous().numpy()
    return rows


def _inverse(x: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, " n"]:
    """One over the lengths of rows; of those without a direction, large but finite."""
    squares = np.empty(len(x))
    kernels.squared_lengths(x, squares)
    return (1 / np.maximum(np.sqrt(squares), 1e-12)).astype(np.float32)


def _along(
    x: Float32[np.ndarray, "n d"], inverse: Float32[np.ndarray, " n"], origin: Float32[np.ndarray, " d"]
) -> Float32[np.ndarray, " n"]:
    """The products of rows with one direction."""
    products: NDArray[np.float32] = torch.mv(torch.from_numpy(x), torch.from_numpy(origin)).numpy() * inverse
    return products
