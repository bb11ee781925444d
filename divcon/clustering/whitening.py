"""PCA whitening of features: as DeepCluster does before it clusters them; and with shrinkage, to compare features.

Whitening for retrieval is of Jegou and Chum (ECCV 2012), the shrinkage of Ledoit and Wolf (Journal of Multivariate Analysis, 2004).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..files.tensors import write_tensors

BLOCK = 65_536  # rows
MINIMUM = 1e-6  # of the largest variance: components with less are rounding errors, and are left out


def whitened(x: Float[Tensor, "n d"], components: int) -> Float[Tensor, "n c"]:
    """Return the first principal components of the rows, each scaled to variance 1; fewer if the rows have fewer.

    Sums are in float64, and rows are read in blocks.
    """
    mean = x.mean(0, dtype=torch.float64)
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=x.device)
    for block in _blocks(x):
        centered = block - mean
        scatter += centered.T @ centered
    variances, directions = torch.linalg.eigh(scatter / len(x))
    variances, directions = variances.flip(0), directions.flip(1)
    count = min(components, max(1, int((variances > MINIMUM * variances[0]).sum())))
    projection = directions[:, :count] * variances[:count].clamp(min=torch.finfo(torch.float64).tiny).rsqrt()
    return torch.cat([((block - mean) @ projection).float() for block in _blocks(x)])


@dataclass(frozen=True)
class Whitening:
    """A linear map: features minus `mean`, times `projection`, have the identity as their shrunk covariance.

    `shrinkage`, in 0..1, is the part of the covariance that is replaced by a multiple of the identity.
    """

    mean: Float64[Tensor, " d"]
    projection: Float64[Tensor, "d d"]
    shrinkage: float

    @classmethod
    def fit(cls, x: Float[Tensor, "n d"] | Float[np.ndarray, "n d"]) -> "Whitening":
        """Return the whitening of the rows. Sums are in float64, and memory holds one block of rows."""
        mean = sum((block.sum(0) for block in _blocks(x)), torch.zeros(x.shape[1], dtype=torch.float64)) / len(x)
        covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        fourth = 0.0  # sum over rows of |x - mean|^4
        for block in _blocks(x):
            centered = block - mean
            covariance += centered.T @ centered
            fourth += float(centered.square().sum(1).square().sum())
        covariance /= len(x)
        shrinkage = _shrinkage(covariance, fourth / len(x), len(x))
        variances, directions = torch.linalg.eigh(covariance)
        shrunk = (1 - shrinkage) * variances.clamp(min=0) + shrinkage * variances.mean()
        smallest = torch.finfo(torch.float64).tiny
        return cls(mean, directions * shrunk.clamp(min=smallest).rsqrt(), shrinkage)

    def __call__(self, x: Float[Tensor, "n d"] | Float[np.ndarray, "n d"]) -> Float[Tensor, "n d"]:
        """Return the whitened rows, in float32."""
        return torch.cat([((block - self.mean) @ self.projection).float() for block in _blocks(x)])

    def save(self, file: Path) -> None:
        write_tensors(
            file,
            {"mean": self.mean, "projection": self.projection, "shrinkage": torch.tensor(self.shrinkage).double()},
        )

    @classmethod
    def load(cls, file: Path) -> "Whitening":
        from safetensors.torch import load_file

        tensors = load_file(file)
        return cls(tensors["mean"], tensors["projection"], float(tensors["shrinkage"]))


def _blocks(x: Float[Tensor, "n d"] | Float[np.ndarray, "n d"]) -> Iterator[Float64[Tensor, "b d"]]:
    for begin in range(0, len(x), BLOCK):
        block = x[begin : begin + BLOCK]
        yield block.double() if isinstance(block, Tensor) else torch.from_numpy(block.astype(np.float64))


def _shrinkage(covariance: Float64[Tensor, "d d"], fourth: float, n: int) -> float:
    """Return beta^2 / delta^2 of Ledoit and Wolf: the mean squared error of the covariance of n rows, as a part of its squared
    distance from a multiple of the identity."""
    squares = float(covariance.square().sum())
    distance = squares - float(covariance.trace()) ** 2 / len(covariance)
    error = (fourth - squares) / n
    return min(1.0, error / distance) if distance > 0 else 1.0
