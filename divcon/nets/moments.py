"""The mean and the covariance of rows that are read once, block by block."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass
class Moments:
    """Sums over n rows x, as b = x - origin: of b, of b b^T, of |b|^2 b and of |b|^4.

    The origin is near the mean, so that the sums are not differences of large numbers.
    """

    origin: Float64[Tensor, " d"]
    n: int
    first: Float64[Tensor, " d"]
    second: Float64[Tensor, "d d"]
    third: Float64[Tensor, " d"]
    fourth: float

    @classmethod
    def of(cls, blocks: Iterable[Float64[Tensor, "b d"]]) -> "Moments":
        """Return the sums over the rows of all blocks, of which there is one at least; the origin is the mean of the first."""
        moments = None
        for block in blocks:
            if moments is None:
                d = block.shape[1]
                zeros = torch.zeros(d, dtype=torch.float64)
                moments = cls(block.mean(0), 0, zeros, torch.zeros(d, d, dtype=torch.float64), zeros.clone(), 0.0)
            moments.add(block)
        assert moments is not None
        return moments

    def add(self, block: Float64[Tensor, "b d"]) -> None:
        """Add the rows of a block."""
        b = block - self.origin
        lengths = b.square().sum(1)
        self.n += len(b)
        self.first = self.first + b.sum(0)
        self.second += b.T @ b
        self.third = self.third + lengths @ b
        self.fourth += float(lengths.square().sum())

    def central(self) -> tuple[Float64[Tensor, " d"], Float64[Tensor, "d d"], float]:
        """Return the mean of the rows, their covariance, and the mean of |x - mean|^4.

        With s = mean - origin: |b - s|^4 is the square of |b|^2 - 2 b.s + |s|^2, summed up term by term.
        """
        s = self.first / self.n
        length = float(s @ s)
        covariance = self.second / self.n - torch.outer(s, s)
        fourth = self.fourth + 4 * float(s @ self.second @ s) + 2 * length * float(self.second.trace())
        fourth -= 4 * float(s @ self.third) + 3 * self.n * length**2
        return self.origin + s, covariance, fourth / self.n
