"""PCA whitening of features, as DeepCluster does before it clusters them. (An encoder's own is in nets/whitening.py.)"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float64
from torch import Tensor

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


def _blocks(x: Float[Tensor, "n d"]) -> Iterator[Float64[Tensor, "b d"]]:
    for begin in range(0, len(x), BLOCK):
        yield x[begin : begin + BLOCK].double()
