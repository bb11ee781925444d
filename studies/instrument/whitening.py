"""PCA-whitening of features, fitted without labels (Jegou and Chum 2012), with the shrinkage of Ledoit and Wolf (2004),
which leaves nothing to choose and holds for more numbers than images."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

BLOCK = 8192  # rows


@dataclass(frozen=True)
class Whitening:
    """Features less `mean`, times `towards`, have the identity as their shrunk covariance. `shrinkage` in 0..1 is how much of
    the covariance is replaced by a multiple of the identity."""

    mean: Float64[Tensor, " d"]
    towards: Float64[Tensor, "d d"]
    shrinkage: float

    @classmethod
    def fit(cls, x: Float[Tensor, "n d"]) -> "Whitening":
        """In float64, some rows at a time."""
        mean = x.mean(0, dtype=torch.float64)
        covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        fourth = 0.0  # sum over rows of |x - mean|^4
        for block in torch.split(x, BLOCK):
            about = block.double() - mean
            covariance += about.T @ about
            fourth += float(about.square().sum(1).square().sum())
        covariance /= len(x)
        share = _shrinkage(covariance, fourth / len(x), len(x))
        variances, directions = torch.linalg.eigh(covariance)
        shrunk = (1 - share) * variances.clamp(min=0) + share * variances.mean()
        least = torch.finfo(torch.float64).tiny
        return cls(mean, directions * shrunk.clamp(min=least).rsqrt(), share)

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.cat([((block.double() - self.mean) @ self.towards).float() for block in torch.split(x, BLOCK)])


def _shrinkage(covariance: Float64[Tensor, "d d"], fourth: float, n: int) -> float:
    """beta^2 / delta^2 of Ledoit and Wolf: how far covariances of n rows lie from the true one, in the mean, as a share of
    how far this one lies from a multiple of the identity."""
    squares = float(covariance.square().sum())
    distance = squares - float(covariance.trace()) ** 2 / len(covariance)
    error = (fourth - squares) / n
    return min(1.0, error / distance) if distance > 0 else 1.0
