"""The nearest rows by cosine.

Products in low precision propose candidates. Each candidate is measured again in float32, in one order of additions. So
neither the precision of the products nor the number of threads changes a result.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..machine import Precision
from . import device_neighbors
from .blocks import each_block
from .kernels import neighbors as kernel
from .kernels.low_precision import PointTerms
from .kernels.neighbors import CandidateLists
from .kernels.sums import squared_lengths
from .products import Frame, LowPrecisionRows
from .shares import evenly

SAMPLE = 1024  # rows of the bank that an estimate of the k-th cosine is made from
CAPACITY = 1024  # candidates of a query, or four times its neighbors if that is more
THREAD_CAPACITY = 2**20  # candidates of all queries that a thread works on at once


def nearest(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "n d"], k: int, chunk: int = 1024, precision: Precision = "fp32"
) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """Return the cosines and the numbers of the k rows of the bank nearest to each query, the nearest first; of equals,
    the lower number first.

    `chunk` queries are searched at a time. Memory holds a copy of the bank in `precision`, and for each thread the
    products of `chunk` queries with 2 * `chunk` rows, and 1024 or 4 k candidates a query. Raises DataError for rows
    that are not finite.
    """
    assert 1 <= k <= len(bank), f"{k} neighbors of {len(bank)} rows"
    refuse_infinite(queries)
    refuse_infinite(bank)
    if not bank.is_cpu:
        return device_neighbors.nearest(queries, bank, k, chunk)
    index, x = SearchIndex(bank, precision, 2 * chunk), _array(queries)
    size = min(chunk, max(1, THREAD_CAPACITY // _capacity(k)))
    unit = x * _inverse_lengths(x)[:, None]
    found = each_block(len(x), size, lambda start, stop: index.search(unit[start:stop], k))
    return torch.cat([s for s, _ in found]), torch.cat([i for _, i in found])


def refuse_infinite(rows: Float[Tensor, "n d"]) -> None:
    """Raise DataError for rows that are not finite."""
    broken = (~rows.isfinite().all(1)).nonzero().flatten()
    if len(broken):
        raise DataError(
            f"the features of image {int(broken[0])} are not finite numbers ({len(broken):,} such images): "
            "has the training diverged?"
        )


class SearchIndex:
    """Rows [n, d] to be searched by cosine: exact, and in low precision, `block` rows at a time."""

    def __init__(self, bank: Tensor, precision: Precision, block: int) -> None:
        self.x, self.block = _array(bank), block
        self.inverse = _inverse_lengths(self.x)
        sample = evenly(len(self.x), SAMPLE)
        origin = (self.x[sample] * self.inverse[sample, None]).mean(0)
        self.frame = Frame(origin, 1.0, precision)
        self.blocks = each_block(len(self.x), block, lambda start, stop: self._convert(slice(start, stop)))
        self.sample = self._convert(sample)

    def search(self, queries: Float32[np.ndarray, "q d"], k: int) -> tuple[Tensor, Tensor]:
        """Return the cosines and the numbers of the k nearest rows to queries of length one.

        Queries whose first threshold was too high to find k rows are searched again without one.
        """
        lists, complete = self._search(queries, k, self._rank(k))
        if not complete.all():
            again, _ = self._search(queries[~complete], k, 0)
            lists.lower[~complete, :k], lists.rows[~complete, :k] = again.lower[:, :k], again.rows[:, :k]
        return torch.from_numpy(lists.lower[:, :k].copy()), torch.from_numpy(lists.rows[:, :k].astype(np.int64))

    def _search(
        self, queries: Float32[np.ndarray, "q d"], k: int, rank: int
    ) -> tuple[CandidateLists, Bool[np.ndarray, " q"]]:
        """Return the lists of candidates, and which of them are complete.

        a.b = (a - o).(b - o) + o.b + (o.a - o.o), where o is the frame's origin. The first term is a product in low
        precision, the second is the offset of row b, and the last, `base`, is the same for all rows of the bank.
        """
        ones, origin = np.ones(len(queries), np.float32), self.frame.origin
        base = _along(queries, ones, origin) - _along(origin[None], ones[:1], origin)
        low, lists, complete = (
            self.frame.convert(queries, ones),
            _empty_lists(len(queries), k),
            np.zeros(len(queries), bool),
        )
        if rank:
            rows, terms = self.sample
            kernel.start_thresholds(low.times(rows, self.frame), terms, base, rank, lists.threshold)
        for i, (rows, terms) in enumerate(self.blocks):
            products = low.times(rows, self.frame)
            kernel.collect_candidates(products, terms, base, i * self.block, k, queries, self.x, self.inverse, lists)
        kernel.finish_lists(lists, k, queries, self.x, self.inverse, complete)
        return lists, complete

    def _rank(self, k: int) -> int:
        """Return the rank in the sample whose cosine the k-th of the bank almost surely exceeds: the expected rank and
        three deviations. Return 0 where the sample or the list is too short for such a threshold to be useful."""
        expected = k * len(self.sample[0].lengths) / len(self.x)
        rank = int(expected + 3 * expected**0.5 + 3)
        return rank if rank * len(self.x) < SAMPLE * _capacity(k) else 0

    def _convert(self, rows: slice | Int64[np.ndarray, " m"]) -> tuple[LowPrecisionRows, PointTerms]:
        x, inverse = self.x[rows], self.inverse[rows]
        low = self.frame.convert(x, inverse)
        # the offset of a product is rounded, and so is their sum
        error = np.full(len(x), 4 * self.frame.rounding, np.float32)
        return low, PointTerms(_along(x, inverse, self.frame.origin), low.lengths, error)


def _capacity(k: int) -> int:
    return max(CAPACITY, 4 * k)


def _empty_lists(queries: int, k: int) -> CandidateLists:
    shape = queries, _capacity(k)
    lower, upper, rows = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.int32)
    return CandidateLists(lower, upper, rows, np.zeros(queries, np.int64), np.full(queries, -np.inf, np.float32))


def _array(x: Float[Tensor, "n d"]) -> Float32[np.ndarray, "n d"]:
    rows: NDArray[np.float32] = x.detach().float().contiguous().numpy()
    return rows


def _inverse_lengths(x: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, " n"]:
    """Return 1 / length of each row; large but finite for a row of zeros."""
    squares = np.empty(len(x))
    squared_lengths(x, squares)
    return (1 / np.maximum(np.sqrt(squares), 1e-12)).astype(np.float32)


def _along(
    x: Float32[np.ndarray, "n d"], inverse: Float32[np.ndarray, " n"], direction: Float32[np.ndarray, " d"]
) -> Float32[np.ndarray, " n"]:
    """Return the product of each row x * inverse with a direction."""
    products: NDArray[np.float32] = torch.mv(torch.from_numpy(x), torch.from_numpy(direction)).numpy() * inverse
    return products
