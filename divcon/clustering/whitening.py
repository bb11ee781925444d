"""Principal components of equal weight, as DeepCluster clusters them."""

import torch
from jaxtyping import Float
from torch import Tensor

LEAST = 1e-6  # of the largest component's variance: what has less is rounding, and is not blown up


def whitened(x: Float[Tensor, "n d"], components: int) -> Float[Tensor, "n c"]:
    """The rows by their first principal components, each with variance 1; fewer where the rows have no more."""
    about = x.double() - x.double().mean(0)
    variances, directions = torch.linalg.eigh(about.T @ about / len(x))
    variances, directions = variances.flip(0), directions.flip(1)
    kept = min(components, max(1, int((variances > LEAST * variances[0]).sum())))
    scale = variances[:kept].clamp(min=torch.finfo(torch.float64).tiny).rsqrt()
    white: Tensor = (about @ directions[:, :kept]) * scale
    return white.float()
