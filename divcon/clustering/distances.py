"""The nearest rows by distance, found as the nearest by cosine.

|q - b|^2 = |q|^2 - 2 (q.b - |b|^2 / 2). Let the query be (q, -1, 0) and the row (b, |b|^2 / 2, r), with r such that all
rows have the same length. Then the cosine of the two rises as the distance falls.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..machine import Precision
from .rows import Features
from .streamed_neighbors import nearest_of_blocks

BLOCK = 2**14  # rows of the bank, and queries, in memory at a time


@dataclass(frozen=True, eq=False)
class Lift:
    """The map from rows to rows whose cosines order them by distance. Rows are first moved to their mean and scaled, so
    that the numbers are near 1."""

    mean: Float64[np.ndarray, " d"]
    scale: float
    length: float

    @classmethod
    def of(cls, x: Features) -> "Lift":
        blocks = [slice(start, start + BLOCK) for start in range(0, len(x), BLOCK)]
        mean = sum((_floats(x[block]).sum(0) for block in blocks), np.zeros(x.shape[1])) / len(x)
        squares = np.concatenate([np.square(_floats(x[block]) - mean).sum(1) for block in blocks])
        scale = 1 / max(float(np.sqrt(squares.mean())), 1e-12)
        halves = squares * scale**2 / 2
        return cls(mean, scale, float(np.sqrt((2 * halves + halves**2).max())) or 1.0)

    def rows(self, x: Features) -> Float32[Tensor, "n e"]:
        """Return (b, |b|^2 / 2, r) of each row."""
        near = self._near(x)
        halves = np.square(near).sum(1, keepdims=True) / 2
        rest = np.sqrt(np.maximum(self.length**2 - 2 * halves - halves**2, 0))
        return torch.from_numpy(np.concatenate([near, halves, rest], 1).astype(np.float32))

    def queries(self, x: Features) -> Float32[Tensor, "q e"]:
        """Return (q, -1, 0) of each row."""
        near = self._near(x)
        ends = np.broadcast_to([-1.0, 0.0], (len(near), 2))
        return torch.from_numpy(np.concatenate([near, ends], 1).astype(np.float32))

    def _near(self, x: Features) -> Float64[np.ndarray, "n d"]:
        near: Float64[np.ndarray, "n d"] = (_floats(x) - self.mean) * self.scale
        return near


def distances_to_neighbor(
    x: Features,
    queries: Int64[np.ndarray, " q"],
    bank: Int64[np.ndarray, " m"],
    k: int,
    lift: Lift,
    precision: Precision = "fp32",
) -> Float32[np.ndarray, " q"]:
    """Return the distance of each query to the k-th nearest other row of the bank; both are positions in x, rising.

    Neighbors are ordered in float32, and the distance to the last of them is measured in float64. Memory holds BLOCK
    rows of the queries and of the bank at a time.
    """
    parts = [queries[start : start + BLOCK] for start in range(0, len(queries), BLOCK)]
    return np.concatenate([_distances(x, part, bank, k, lift, precision) for part in parts])


def _distances(
    x: Features,
    queries: Int64[np.ndarray, " q"],
    bank: Int64[np.ndarray, " m"],
    k: int,
    lift: Lift,
    precision: Precision,
) -> Float32[np.ndarray, " q"]:
    blocks = (lift.rows(x[bank[start : start + BLOCK]]) for start in range(0, len(bank), BLOCK))
    found = bank[nearest_of_blocks(lift.queries(x[queries]), blocks, min(k + 1, len(bank)), precision)[1].numpy()]
    own = (found == queries[:, None]).any(1)
    last = np.where(own, k, k - 1).clip(max=found.shape[1] - 1)
    neighbors = found[np.arange(len(found)), last]
    distances = np.sqrt(np.square(_floats(x[queries]) - _floats(x[neighbors])).sum(1))
    measured: Float32[np.ndarray, " q"] = distances.astype(np.float32)
    return measured


def _floats(x: Features) -> NDArray[np.float64]:
    return np.asarray(x, np.float64)
