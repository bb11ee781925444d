"""Rows of features where they lie, in memory or mapped from a disk: read block by block, and never copied whole."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..machine import Precision
from . import kernels
from .products import SPARE, Frame, Lowered, each_block

SCALE = 2**32  # fixed point: sums of 2^29 rows fit, and an entry is off by 2^-33 units at most
FEW = 16  # centroids, whose products are made while a row is at hand
KEPT = 2**31  # bytes that a copy of the rows in low precision may take
SAMPLE = 1024  # rows that say where the middle of all is

Features = Tensor | NDArray[np.floating]


class Rows:
    """Features as they count in k-means: float32, and of length one if by angle.

    The source is read once each round. Beside it, memory holds four bytes a row; for each thread a block of rows and its
    products (about 20 MB); and for more than FEW centroids, if that takes no more than `kept` bytes, the rows in low
    precision, which else are made anew each round. Raises DataError for no rows, and for rows that are not finite or (if
    `directed`) all zero.
    """

    def __init__(
        self, source: Features, spherical: bool, precision: Precision = "fp32", directed: bool = False, kept: int = KEPT
    ) -> None:
        self.source, self.precision, self.device, self.kept = source, precision, torch.device("cpu"), kept
        lengths = self._lengths()
        refuse(~np.isfinite(lengths), directed & (lengths <= 1e-12))
        self.inverse = (1 / np.maximum(lengths, 1e-12) if spherical else np.ones(len(lengths))).astype(np.float32)
        self.longest = 1.0 if spherical else float(lengths.max())
        self.unit = power_of_two(self.longest)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, positions: Int64[np.ndarray, " m"]) -> Float32[Tensor, "m d"]:
        """Some rows, as they count."""
        some = _floats(self.source[torch.from_numpy(positions) if isinstance(self.source, Tensor) else positions])
        return torch.from_numpy(some * self.inverse[positions][:, None])

    def relabel(
        self, centroids: Float32[Tensor, "k d"], labels: Int64[Tensor, " n"], total: Int64[Tensor, "k d"] | None = None
    ) -> int:
        """Label each row by its nearest centroid, of equals by the first, and take the rows that moved (from -1 they
        only come) to the sums of their new clusters, in units of `unit` / SCALE. How many moved.

        Sums are integers, so that their order is all one, and what does not move costs nothing.
        """
        assert len(self) * SCALE < 2**62, f"sums of {len(self):,} rows could overflow"
        points, own, idle = (
            Points.of(centroids.contiguous().numpy(), self.frame),
            labels.numpy(),
            list[NDArray[np.int64]](),
        )
        low = self.low if len(centroids) > FEW else None

        def job(start: int, stop: int) -> int:
            rows, inverse, before = self._block(start, stop), self.inverse[start:stop], own[start:stop]
            found = points.nearest(rows, inverse, None if low is None else low[start:stop])
            moved = 0 if total is None else self._move(rows, inverse, before, found, total.shape, idle)
            before[:] = found
            return moved

        moved = sum(each_block(len(self), self._size(len(centroids)), job))
        if total is not None:
            total += torch.from_numpy(sum(idle))
        return moved

    def squared(self, points: Float32[Tensor, "k d"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        """|x_i - points[labels_i]|^2 for each row, added up in float64 in a fixed order."""
        out, own, ends = np.empty(len(self)), labels.numpy(), points.contiguous().numpy()

        def job(start: int, stop: int) -> None:
            rows, inverse = self._block(start, stop), self.inverse[start:stop]
            kernels.squared_distances(rows, inverse, ends, own[start:stop], out[start:stop])

        each_block(len(self), self._size(1), job)
        return torch.from_numpy(out)

    def _block(self, start: int, stop: int) -> Float32[np.ndarray, "b d"]:
        return _floats(self.source[start:stop])

    def _size(self, k: int) -> int:
        """Rows of a block: they, and their products, should stay in a core's cache."""
        return int(np.clip(min(2 ** (20 if k > FEW else 21) // self.source.shape[1], 2**22 // k), 64, 8192))

    def _lengths(self) -> Float64[np.ndarray, " n"]:
        squares = np.empty(len(self.source))

        def job(start: int, stop: int) -> None:
            kernels.squared_lengths(self._block(start, stop), squares[start:stop])

        each_block(len(squares), self._size(1), job)
        return np.sqrt(squares)

    @cached_property
    def frame(self) -> Frame:
        some = np.linspace(0, len(self) - 1, min(SAMPLE, len(self))).astype(np.int64)
        return Frame(self.take(some).numpy().mean(0), 0.5 / self.unit, self.precision)

    @cached_property
    def low(self) -> Lowered | None:
        """All rows in low precision, if there is room for them."""
        bytes_each = 2 if self.precision == "bf16" else 4
        if len(self) * self.source.shape[1] * bytes_each > self.kept:
            return None
        low = Lowered.empty(len(self), self.source.shape[1], self.precision)

        def job(start: int, stop: int) -> None:
            self.frame.lower_into(low[start:stop], self._block(start, stop), self.inverse[start:stop])

        each_block(len(self), self._size(FEW), job)
        return low

    def _move(
        self,
        rows: NDArray[np.float32],
        inverse: NDArray[np.float32],
        before: NDArray[np.int64],
        after: NDArray[np.int64],
        shape: torch.Size,
        idle: list[NDArray[np.int64]],
    ) -> int:
        """The rows that moved, added to a table of this thread's own while it is at it."""
        try:
            part = idle.pop()
        except IndexError:
            part = np.zeros(shape, np.int64)
        moved = int(kernels.move(rows, inverse, before, after, np.float32(SCALE / self.unit), part))
        idle.append(part)
        return moved


@dataclass(frozen=True, eq=False)
class Points:
    """Centroids, as they are and in low precision, and what their scores may be off by."""

    exact: Float32[np.ndarray, "k d"]
    frame: Frame
    lowered: Lowered
    margins: kernels.Margins

    @classmethod
    def of(cls, exact: Float32[np.ndarray, "k d"], frame: Frame) -> "Points":
        """The largest x.c - |c|^2 / 2 is that of the nearest c; x and c measured from the frame's origin."""
        frame = replace(frame, precision="fp32") if len(exact) <= FEW else frame
        lowered = frame.lower(exact, np.ones(len(exact), np.float32))
        half = np.square((exact.astype(np.float64) - frame.origin) * frame.scale).sum(1) / 2
        spare = np.float32(SPARE * frame.rounding) * np.square(lowered.lengths)
        return cls(exact, frame, lowered, kernels.Margins(-half.astype(np.float32), lowered.lengths, spare))

    def nearest(
        self, rows: Float32[np.ndarray, "b d"], inverse: Float32[np.ndarray, " b"], low: Lowered | None
    ) -> Int64[np.ndarray, " b"]:
        """The first of the nearest for each row; `low` is the rows in low precision, where that is at hand."""
        found = np.empty(len(rows), np.int64)
        if len(self.exact) <= FEW:
            self._few(rows, inverse, found)
            return found
        near = self.frame.lower(rows, inverse) if low is None else low
        kernels.decide(near.times(self.lowered, self.frame), self.margins, rows, inverse, self.exact, found)
        return found

    def _few(self, rows: NDArray[np.float32], inverse: NDArray[np.float32], found: NDArray[np.int64]) -> None:
        low, slack = self.lowered.low.numpy(), np.float32(SPARE * self.frame.rounding)
        more = -len(low) % kernels.EIGHT
        padded = np.concatenate([low, np.zeros((more, low.shape[1]), np.float32)])
        # what was added for the number's sake can't be near anything
        offset, length, spare = (np.pad(part, (0, more)) for part in self.margins)
        offset[len(low) :] = -np.inf
        frame = self.frame
        kernels.decide_few(
            frame.origin,
            np.float32(frame.scale),
            padded,
            slack,
            kernels.Margins(offset, length, spare),
            rows,
            inverse,
            self.exact,
            found,
        )


def refuse(infinite: Bool[np.ndarray, " n"], zero: Bool[np.ndarray, " n"]) -> None:
    """Refuse rows that can't be placed: numbers that are not finite, and (to fit by angle) rows that are all zero."""
    if len(infinite) == 0:
        raise DataError("there are no images to cluster")
    if infinite.any():
        first, many = int(infinite.argmax()), int(infinite.sum())
        raise DataError(f"the features of image {first} are not finite numbers ({many:,} such images)")
    if zero.any():
        first = int(zero.argmax())
        raise DataError(f"the features of image {first} are all zero, so they point nowhere: has the model collapsed?")


def power_of_two(length: float) -> float:
    """One that is no smaller; dividing by it loses nothing, and float32 holds it times SCALE."""
    return float(2.0 ** np.ceil(np.log2(max(length, 2.0**-90))))


def _floats(part: Features) -> Float32[np.ndarray, "b d"]:
    """A float32 array in one piece that may be written to: a view where it is one already."""
    tensor = part.detach() if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
    rows: NDArray[np.float32] = tensor.float().contiguous().numpy()
    return rows
