"""Rows of features in memory or in a mapped file, read block by block and never copied whole; each rank reads its share."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..machine import Precision
from .blocks import each_block
from .kernels import centroids as kernel
from .kernels import sums
from .kernels.low_precision import PointTerms
from .products import MARGIN, Frame, LowPrecisionRows
from .ranks import Shares, first_of_ranks
from .sum_tables import SumTables

SCALE = 2**32  # fixed point: sums of 2^29 rows fit, and an entry is off by at most 2^-33 units
FEW = 16  # up to this many centroids, products with a row are made while it is in the cache
COPY_BYTES = 2**31  # the default limit of a copy of the rows in low precision
AT_ONCE = 4096  # centroids that are in memory in float64
SAMPLE = 1024  # rows whose mean is the origin of the frame

Features = Tensor | NDArray[np.floating]


class Rows:
    """Features [n, d] as k-means uses them: float32, and of length one when `spherical`.

    If `shared`, all ranks are given the same source, and each works on its own rows, those of `shares.own`.

    A rank reads its rows once a round. Memory also holds four bytes a row, and for each thread a block of rows and its
    products (about 20 MB). For more than FEW centroids it holds a copy of the rows in low precision, if that has at
    most `copy_bytes`; otherwise they are converted again in each round. Raises DataError when there are no rows, when a
    row is not finite, and, if `refuse_zero`, when a row is all zero.
    """

    def __init__(
        self,
        source: Features,
        spherical: bool,
        precision: Precision = "fp32",
        refuse_zero: bool = False,
        copy_bytes: int = COPY_BYTES,
        shared: bool = True,
    ) -> None:
        self.source, self.precision, self.device = source, precision, torch.device("cpu")
        self.spherical, self.copy_bytes, self.shares = spherical, copy_bytes, Shares.of(len(source), shared)
        self.own = source[self.shares.own]
        lengths = self._lengths()
        check_lengths(lengths, refuse_zero, self.shares)
        self.inverse = self._inverse(lengths)
        longest = self.shares.max(torch.tensor(lengths.max(initial=0.0)))
        self.longest = 1.0 if spherical else float(longest)
        self.unit = power_of_two(self.longest)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, positions: Int64[np.ndarray, " m"]) -> Float32[Tensor, "m d"]:
        """Return the rows at these positions, of any rank, of length one when spherical."""
        rows = _floats(self.source[torch.from_numpy(positions) if isinstance(self.source, Tensor) else positions])
        squares = np.empty(len(rows))
        sums.squared_lengths(rows, squares)
        return torch.from_numpy(rows * self._inverse(np.sqrt(squares))[:, None])

    def relabel(
        self, centroids: Float32[Tensor, "k d"], labels: Int64[Tensor, " b"], total: Int64[Tensor, "k d"] | None = None
    ) -> int:
        """Set the label of each own row to its nearest centroid, the first of equals, and return how many labels changed.

        `total` holds the sum of each cluster's own rows as integers, in units of `unit` / SCALE, and is brought up to date:
        only rows whose label changed are moved. A label of -1 means that the row is in no sum yet. Integer sums do not
        depend on the order of the rows.
        """
        assert len(self) * SCALE < 2**62, f"sums of {len(self):,} rows could overflow"
        points = Centroids.of(centroids.contiguous().numpy(), self.frame)
        own, copy = labels.numpy(), self.low_precision if len(centroids) > FEW else None
        tables = None if total is None else SumTables(total, torch.get_num_threads())

        def job(start: int, stop: int) -> int:
            rows, inverse, before = self._block(start, stop), self.inverse[start:stop], own[start:stop]
            after = points.nearest(rows, inverse, None if copy is None else copy[start:stop])
            moved = 0 if tables is None else self._move(rows, inverse, before, after, tables)
            before[:] = after
            return moved

        moved = sum(each_block(len(own), self._block_size(len(centroids)), job))
        if tables is not None:
            tables.add_up()
        return moved

    def squared_distances(self, points: Float32[Tensor, "k d"], labels: Int64[Tensor, " b"]) -> Float64[Tensor, " b"]:
        """Return |x_i - points[labels_i]|^2 for each own row, summed in float64 in a fixed order."""
        out, own, exact = np.empty(len(labels)), labels.numpy(), points.contiguous().numpy()

        def job(start: int, stop: int) -> None:
            rows, inverse = self._block(start, stop), self.inverse[start:stop]
            sums.squared_distances(rows, inverse, exact, own[start:stop], out[start:stop])

        each_block(len(out), self._block_size(1), job)
        return torch.from_numpy(out)

    def _block(self, start: int, stop: int) -> Float32[np.ndarray, "b d"]:
        return _floats(self.own[start:stop])

    def _block_size(self, k: int) -> int:
        """Return a number of rows that fit, with their products, into a core's cache."""
        return int(np.clip(min(2 ** (20 if k > FEW else 21) // self.source.shape[1], 2**22 // k), 64, 8192))

    def _inverse(self, lengths: Float64[np.ndarray, " b"]) -> Float32[np.ndarray, " b"]:
        """Return what rows of these lengths are multiplied by."""
        inverse = 1 / np.maximum(lengths, 1e-12) if self.spherical else np.ones(len(lengths))
        rounded: NDArray[np.float32] = inverse.astype(np.float32)
        return rounded

    def _lengths(self) -> Float64[np.ndarray, " b"]:
        squares = np.empty(len(self.own))

        def job(start: int, stop: int) -> None:
            sums.squared_lengths(self._block(start, stop), squares[start:stop])

        each_block(len(squares), self._block_size(1), job)
        return np.sqrt(squares)

    @cached_property
    def frame(self) -> Frame:
        """The frame of low precision; its origin is the mean of some rows."""
        sample = np.linspace(0, len(self) - 1, min(SAMPLE, len(self))).astype(np.int64)
        return Frame(self.take(sample).numpy().mean(0), 0.5 / self.unit, self.precision)

    @cached_property
    def low_precision(self) -> LowPrecisionRows | None:
        """The own rows in low precision, or None if they take more than `copy_bytes`."""
        n, d = self.own.shape
        if n * d * (2 if self.precision == "bf16" else 4) > self.copy_bytes:
            return None
        copy = LowPrecisionRows.empty(n, d, self.precision)

        def job(start: int, stop: int) -> None:
            self.frame.convert_into(copy[start:stop], self._block(start, stop), self.inverse[start:stop])

        each_block(n, self._block_size(FEW), job)
        return copy

    def _move(
        self,
        rows: NDArray[np.float32],
        inverse: NDArray[np.float32],
        before: NDArray[np.int64],
        after: NDArray[np.int64],
        tables: SumTables,
    ) -> int:
        """Add the changes of a block to a table of sums, and return how many rows moved."""
        with tables.table() as table:
            return int(sums.move_rows(rows, inverse, before, after, np.float32(SCALE / self.unit), table))


@dataclass(frozen=True, eq=False)
class Centroids:
    """Centroids, exact and in low precision, and the terms of their scores."""

    exact: Float32[np.ndarray, "k d"]
    frame: Frame
    low_precision: LowPrecisionRows
    terms: PointTerms

    @classmethod
    def of(cls, exact: Float32[np.ndarray, "k d"], frame: Frame) -> "Centroids":
        """Return the centroids with their scores: x.c - |c|^2 / 2 is largest for the nearest c. x and c are measured
        from the frame's origin."""
        frame = replace(frame, precision="fp32") if len(exact) <= FEW else frame
        low = frame.convert(exact, np.ones(len(exact), np.float32))
        half = np.concatenate(
            [
                np.square((some.astype(np.float64) - frame.origin) * frame.scale).sum(1) / 2
                for some in np.split(exact, range(AT_ONCE, len(exact), AT_ONCE))
            ]
        )
        error = np.float32(MARGIN * frame.rounding) * np.square(low.lengths)
        return cls(exact, frame, low, PointTerms(-half.astype(np.float32), low.lengths, error))

    def nearest(
        self, rows: Float32[np.ndarray, "b d"], inverse: Float32[np.ndarray, " b"], copy: LowPrecisionRows | None
    ) -> Int64[np.ndarray, " b"]:
        """Return the number of each row's nearest centroid, the first of equals; `copy` holds the rows in low
        precision, if there is such a copy."""
        labels = np.empty(len(rows), np.int64)
        if len(self.exact) <= FEW:
            self._nearest_of_few(rows, inverse, labels)
            return labels
        low = self.frame.convert(rows, inverse) if copy is None else copy
        products = low.times(self.low_precision, self.frame)
        kernel.nearest_centroids(products, self.terms, rows, inverse, self.exact, labels)
        return labels

    def _nearest_of_few(
        self, rows: NDArray[np.float32], inverse: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> None:
        values, frame = self.low_precision.values.numpy(), self.frame
        scale, unit_error = np.float32(frame.scale), np.float32(MARGIN * frame.rounding)
        missing = -len(values) % kernel.EIGHT
        padded = np.concatenate([values, np.zeros((missing, values.shape[1]), np.float32)])
        offset, length, error = (np.pad(part, (0, missing)) for part in self.terms)
        offset[len(values) :] = -np.inf  # a padding row is nearest to nothing
        terms = PointTerms(offset, length, error)
        kernel.nearest_of_few_centroids(
            frame.origin, scale, padded, unit_error, terms, rows, inverse, self.exact, labels
        )


def check_lengths(lengths: Float64[np.ndarray, " b"], refuse_zero: bool, shares: Shares) -> None:
    """Raise DataError, the same one on each rank, when there are no rows, when a length is not finite, and, if `refuse_zero`,
    when a length is zero. `lengths` are those of this rank's rows."""
    if shares.n == 0:
        raise DataError("there are no images to cluster")
    first, count = first_of_ranks(torch.from_numpy(~np.isfinite(lengths)), shares)
    if count:
        raise DataError(f"the features of image {first} are not finite numbers ({count:,} such images)")
    first, count = first_of_ranks(torch.from_numpy(lengths <= 1e-12), shares)
    if refuse_zero and count:
        raise DataError(
            f"the features of image {first} are all zero, so they have no direction: has the model collapsed?"
        )


def power_of_two(length: float) -> float:
    """Return a power of two that is not smaller: division by it is exact, and float32 holds its product with SCALE."""
    return float(2.0 ** np.ceil(np.log2(max(length, 2.0**-90))))


def _floats(part: Features) -> Float32[np.ndarray, "b d"]:
    """Return a contiguous, writable float32 array; it shares memory with `part` if that is one already."""
    tensor = part.detach() if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
    rows: NDArray[np.float32] = tensor.float().contiguous().numpy()
    return rows
