"""Principal components of equal weight, as DeepCluster clusters them."""

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 65_536  # rows
LEAST = 1e-6  # of the largest component's variance: what has less is rounding, and is not blown up


def whitened(x: Float[Tensor, "n d"], components: int) -> Float[Tensor, "n c"]:
    """The rows by their first principal components, each with variance 1; fewer where the rows have no more. Sums are in
    float64, a block of rows at a time."""
    mean = x.mean(0, dtype=torch.float64)
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=x.device)
    for block in torch.split(x, BLOCK):
        about = block.double() - mean
        scatter += about.T @ about
    variances, directions = torch.linalg.eigh(scatter / len(x))
    variances, directions = variances.flip(0), directions.flip(1)
    kept = min(components, max(1, int((variances > LEAST * variances[0]).sum())))
    towards = directions[:, :kept] * variances[:kept].clamp(min=torch.finfo(torch.float64).tiny).rsqrt()
    return torch.cat([((block.double() - mean) @ towards).float() for block in torch.split(x, BLOCK)])
