"""A memory of the features of each image (https://arxiv.org/abs/1805.01978, section 3.3)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .. import dist


class MemoryBank(nn.Module):
    """Rows [n, dim] of length one, one for each of n images. They begin as random directions."""

    rows: Tensor

    def __init__(self, n: int, dim: int):
        super().__init__()
        bound = 1 / math.sqrt(dim / 3)
        self.register_buffer("rows", F.normalize(torch.empty(n, dim).uniform_(-bound, bound), dim=1))

    @torch.no_grad()
    def follow(self, index: Int64[Tensor, "b"], z: Float[Tensor, "b d"], momentum: float) -> None:
        """Update the rows of the images of all ranks: row <- momentum * row + (1 - momentum) * z, then normalize.

        `index` has the positions of the images and `z` their features, which are normalized first. The last one counts
        for an image that comes twice, so that the result does not depend on the order of writes.
        """
        index, z = dist.all_gather(index), dist.all_gather(F.normalize(z.float(), dim=1))
        images, last = last_of_each(index)
        self.rows[images] = F.normalize(torch.lerp(z[last], self.rows[images], momentum), dim=1)


def last_of_each(index: Int64[Tensor, "b"]) -> tuple[Int64[Tensor, "m"], Int64[Tensor, "m"]]:
    """Return the different values in rising order, and the position at which each comes last."""
    values, which = torch.unique(index, return_inverse=True)
    positions = torch.arange(len(index), device=index.device)
    return values, torch.zeros_like(values).scatter_reduce(0, which, positions, "amax")
