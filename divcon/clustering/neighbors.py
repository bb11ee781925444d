"""The nearest rows by cosine.

Products in low precision propose, and every row that they can't rule out is measured again, in float32 and in one order
of additions: so their precision changes nothing but the time, and neither does the number of threads.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..machine import Precision
from . import held, kernels
from .products import Frame, Lowered, each_block

SAMPLE = 1024  # rows of the bank that tell about how near the k-th will be
ROOM = 1024  # rows that a query's list has room for, or four times its neighbors
LISTS = 2**20  # places of all lists of a thread


def nearest(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "n d"], k: int, chunk: int = 1024, precision: Precision = "fp32"
) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The k most similar rows of the bank to each query, best first: (cosine, index); of equals, the lower index.

    Memory holds a copy of the bank in `precision`, and for each thread the products of `chunk` queries with twice as many
    rows, and lists of 1024 or 4 k rows a query. Raises DataError for rows that are not finite: they are near nothing.
    """
    assert 1 <= k <= len(bank), f"{k} neighbors of {len(bank)} rows"
    _check(queries)
    _check(bank)
    if not bank.is_cpu:
        return held.nearest(queries, bank, k, chunk)
    stored, x = SearchIndex(bank, precision, 2 * chunk), _array(queries)
    size = min(chunk, max(1, LISTS // _room(k)))
    unit = x * _inverse(x)[:, None]
    found = each_block(len(x), size, lambda start, stop: stored.search(unit[start:stop], k))
    return torch.cat([s for s, _ in found]), torch.cat([i for _, i in found])


def _check(rows: Float[Tensor, "n d"]) -> None:
    broken = (~rows.isfinite().all(1)).nonzero().flatten()
    if len(broken):
        raise DataError(
            f"the features of image {int(broken[0])} are not finite numbers ({len(broken):,} such images): "
            "has the training diverged?"
        )


class SearchIndex:
    """Directions to be searched: as they came, and in low precision."""

    def __init__(self, bank: Tensor, precision: Precision, block: int) -> None:
        self.x, self.block = _array(bank), block
        self.inverse = _inverse(self.x)
        some = np.linspace(0, len(self.x) - 1, min(SAMPLE, len(self.x))).astype(np.int64)
        origin = (self.x[some] * self.inverse[some, None]).mean(0)
        self.frame = Frame(origin, 1.0, precision)
        self.parts = each_block(len(self.x), block, lambda start, stop: self._lower(slice(start, stop)))
        self.sample = self._lower(some)

    def search(self, queries: Float32[np.ndarray, "q d"], k: int) -> tuple[Tensor, Tensor]:
        """Of directions. Where a guess of how near the k-th is was too good, it is not made again."""
        lists, sure = self._searched(queries, k, self._rank(k))
        if not sure.all():
            again, _ = self._searched(queries[~sure], k, 0)
            lists.least[~sure, :k], lists.rows[~sure, :k] = again.least[:, :k], again.rows[:, :k]
        return torch.from_numpy(lists.least[:, :k].copy()), torch.from_numpy(lists.rows[:, :k].astype(np.int64))

    def _searched(
        self, queries: Float32[np.ndarray, "q d"], k: int, rank: int
    ) -> tuple[kernels.Lists, Bool[np.ndarray, " q"]]:
        """a.b = (a - o).(b - o) + o.b + (o.a - o.o): of these the first is proposed, and the last is the same for all
        rows of the bank."""
        ones, origin = np.ones(len(queries), np.float32), self.frame.origin
        base = _along(queries, ones, origin) - _along(origin[None], ones[:1], origin)
        near, lists, sure = (
            self.frame.lower(queries, ones),
            _lists(len(queries), _room(k)),
            np.zeros(len(queries), bool),
        )
        if rank:
            part, margins = self.sample
            kernels.guess(near.times(part, self.frame), margins, base, rank, lists.bottom)
        for i, (part, margins) in enumerate(self.parts):
            proposed = near.times(part, self.frame)
            kernels.collect(proposed, margins, base, i * self.block, k, queries, self.x, self.inverse, lists)
        kernels.settle_all(lists, k, queries, self.x, self.inverse, sure)
        return lists, sure

    def _rank(self, k: int) -> int:
        """A rank in the sample that the k-th of the bank almost surely comes before: its own, and three deviations. 0 where
        the sample, or the list, is too short for that to be of use."""
        share = k * len(self.sample[0].lengths) / len(self.x)
        rank = int(share + 3 * share**0.5 + 3)
        return rank if rank * len(self.x) < SAMPLE * _room(k) else 0

    def _lower(self, rows: slice | Int64[np.ndarray, " m"]) -> tuple[Lowered, kernels.Margins]:
        x, inverse = self.x[rows], self.inverse[rows]
        lowered = self.frame.lower(x, inverse)
        # what is added to a product is itself rounded, and so is what comes of it
        spare = np.full(len(x), 4 * self.frame.rounding, np.float32)
        return lowered, kernels.Margins(_along(x, inverse, self.frame.origin), lowered.lengths, spare)


def _room(k: int) -> int:
    return max(ROOM, 4 * k)


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
