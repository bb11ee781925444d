"""A memory of what a network last saw of each image (https://arxiv.org/abs/1805.01978, section 3.3)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .. import dist


class MemoryBank(nn.Module):
    """A row of length one for each of n images; before anything is seen they are directions at random."""

    rows: Tensor

    def __init__(self, n: int, dim: int):
        super().__init__()
        bound = 1 / math.sqrt(dim / 3)
        self.register_buffer("rows", F.normalize(torch.empty(n, dim).uniform_(-bound, bound), dim=1))

    @torch.no_grad()
    def follow(self, index: Int64[Tensor, "b"], z: Float[Tensor, "b d"], momentum: float) -> None:
        """row <- momentum * row + (1 - momentum) * z, each of length one, for the images of all ranks.

        Of an image that comes twice, the last counts: otherwise which one does would be left to chance.
        """
        index, z = dist.all_gather(index), dist.all_gather(F.normalize(z.float(), dim=1))
        images, last = last_of_each(index)
        self.rows[images] = F.normalize(torch.lerp(z[last], self.rows[images], momentum), dim=1)


def last_of_each(index: Int64[Tensor, "b"]) -> tuple[Int64[Tensor, "m"], Int64[Tensor, "m"]]:
    """The different values, in order, and where each comes last."""
    values, which = torch.unique(index, return_inverse=True)
    places = torch.arange(len(index), device=index.device)
    return values, torch.zeros_like(values).scatter_reduce(0, which, places, "amax")
