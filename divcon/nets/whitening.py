"""PCA whitening: the linear map that makes features comparable, fitted on a collection without labels.

Whitening for retrieval is of Jegou and Chum (ECCV 2012), the shrinkage of Ledoit and Wolf (Journal of Multivariate Analysis, 2004).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import DamagedError, FaultError
from ..files.tensors import write_tensors
from ..files.text import printable
from .moments import Moments

BLOCK = 8192  # rows
PRODUCT = 512  # rows: a row has the same bits in any product that begins at a multiple of it
MINIMUM = 1e-6  # of the mean variance: directions with less are not made any larger
MAX_WIDTH = 65_536  # features: a file from a stranger may have any shape

Rows = Float[Tensor, "n d"] | Float[np.ndarray, "n d"]


@dataclass(frozen=True)
class Whitening:
    """A linear map: features minus `mean`, times `projection`, have the identity as their shrunk covariance.

    The first of the new features is that in which the old ones differ most. `shrinkage`, in 0..1, is the part of the
    covariance that is replaced by a multiple of the identity.
    """

    mean: Float32[Tensor, " d"]
    projection: Float32[Tensor, "d d"]
    shrinkage: float

    @classmethod
    def fit(cls, x: Rows) -> "Whitening":
        """Return the whitening of the rows. Memory holds one block of them in float64."""
        return cls.fit_blocks([x])

    @classmethod
    def fit_blocks(cls, blocks: Iterable[Rows]) -> "Whitening":
        """Return the whitening of the rows of all blocks, each read once. Sums are in float64.

        Raises FaultError for rows that are not finite.
        """
        moments = Moments.of(block for rows in blocks for block in _blocks(rows, BLOCK))
        if not np.isfinite(moments.fourth):
            raise FaultError("the features are not finite, so they can't be whitened")
        mean, covariance, fourth = moments.central()
        shrinkage = _shrinkage(covariance, fourth, moments.n)
        projection = _projection(covariance, shrinkage)
        return cls(mean.float(), projection.float(), shrinkage)

    def __call__(self, x: Rows) -> Float32[Tensor, "n d"]:
        """Return the whitened rows, in float32; products are in float64."""
        self._check_width(x.shape[1])
        mean, projection = self.mean.double(), self.projection.double()
        parts = [((block - mean) @ projection).float() for block in _blocks(x, PRODUCT)]
        return torch.cat([*parts, torch.zeros(0, len(mean))])

    def layer(self, width: int) -> "WhiteningLayer":
        """Return the map as the last layer of a network that gives `width` features."""
        self._check_width(width)
        return WhiteningLayer(self.mean, self.projection)

    def linear(self, width: int) -> tuple[Float32[Tensor, "d d"], Float32[Tensor, " d"]]:
        """Return the map as the weight and the bias of an `nn.Linear`, for libraries that have no other last layer."""
        self._check_width(width)
        bias = -(self.mean.double() @ self.projection.double())
        return self.projection.T.contiguous(), bias.float()

    def _check_width(self, width: int) -> None:
        if width != len(self.mean):
            raise DamagedError(
                f"a whitening of {len(self.mean)} features does not fit an encoder with {width}; get a copy of the encoder's "
                "folder, or type whiten=false"
            )

    def save(self, file: Path) -> None:
        shrinkage = torch.tensor(self.shrinkage, dtype=torch.float64)
        write_tensors(file, {"mean": self.mean, "projection": self.projection, "shrinkage": shrinkage})

    @classmethod
    def load(cls, file: Path) -> Self:
        """Raises DamagedError for a file that is no whitening."""
        try:
            tensors = load_file(file)
            whitening = cls(tensors["mean"].float(), tensors["projection"].float(), float(tensors["shrinkage"]))
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise _damaged(file, str(error)) from error
        d = whitening.mean.numel()
        if whitening.mean.ndim != 1 or whitening.projection.shape != (d, d) or d > MAX_WIDTH:
            raise _damaged(file, "its shapes are not those of a whitening")
        if not (whitening.mean.isfinite().all() and whitening.projection.isfinite().all()):
            raise _damaged(file, "it has numbers that are not finite")
        return whitening


class WhiteningLayer(nn.Module):
    """A whitening as a layer: features [b, d] -> [b, d]. It computes in float32, whatever the type of the network is.

    The mean is subtracted first: a bias after the product would be the difference of large numbers. The tensors are no part of
    the state_dict, which stays that of the encoder.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, mean: Float32[Tensor, " d"], projection: Float32[Tensor, "d d"]):
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("projection", projection, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the tensors with the network, but keep them in float32: in half precision the small directions would be noise."""
        exact = self.mean, self.projection
        untyped: Any = super()  # torch gives this function no types
        untyped._apply(fn, recurse)
        self.mean, self.projection = (tensor.to(self.mean.device) for tensor in exact)
        return self

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        if torch.is_autocast_enabled(features.device.type):  # asked, because an exporter would write the context down
            with torch.autocast(features.device.type, enabled=False):
                return self._whitened(features)
        return self._whitened(features)

    def _whitened(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        white = (features.float() - self.mean) @ self.projection
        return white.to(features.dtype)


def _damaged(file: Path, why: str) -> DamagedError:
    return DamagedError(f"{printable(file)} can't be read ({printable(why)}); get a copy of it, or type whiten=false")


def _blocks(x: Rows, size: int) -> Iterator[Float64[Tensor, "b d"]]:
    for begin in range(0, len(x), size):
        block = x[begin : begin + size]
        yield block.double() if isinstance(block, Tensor) else torch.from_numpy(block.astype(np.float64))


def _projection(covariance: Float64[Tensor, "d d"], shrinkage: float) -> Float64[Tensor, "d d"]:
    """Return the directions of the covariance, each over the root of its shrunk variance; the largest variance first.

    The largest number of each direction is positive, so that the signs do not depend on the solver.
    """
    rising, vectors = torch.linalg.eigh(covariance)
    variances: Float64[Tensor, " d"] = rising.flip(0)
    directions: Float64[Tensor, "d d"] = vectors.flip(1)
    mean = float(variances.mean())
    if mean <= torch.finfo(torch.float32).tiny:  # all rows are equal: nothing can be scaled
        return directions
    shrunk = (1 - shrinkage) * variances.clamp(min=0) + shrinkage * mean
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    scales = shrunk.clamp(min=MINIMUM * mean).rsqrt()
    return directions * largest.sign() * scales


def _shrinkage(covariance: Float64[Tensor, "d d"], fourth: float, n: int) -> float:
    """Return beta^2 / delta^2 of Ledoit and Wolf: the mean squared error of the covariance of n rows, as a part of its squared
    distance from a multiple of the identity. `fourth` is the mean of |x - mean|^4."""
    squares = float(covariance.square().sum())
    distance = squares - float(covariance.trace()) ** 2 / len(covariance)
    error = (fourth - squares) / n
    return min(1.0, max(0.0, error / distance)) if distance > 0 else 1.0
