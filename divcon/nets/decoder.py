"""From features back to pixels, while an encoder learns."""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .batch_norm import BatchNorm

START = 4  # pixels on a side of the first map
STAGES = 3


class Decoder(nn.Module):
    """A map of 4 x 4 pixels, enlarged three times by the same factor and convolved each time into half the channels: so it
    paints images of any size with the same weights."""

    def __init__(self, dim_in: int, channels: int):
        super().__init__()
        widths = [channels >> stage for stage in range(STAGES + 1)]
        self.start = nn.Linear(dim_in, channels * START**2)
        self.stages = nn.ModuleList(_stage(a, b) for a, b in pairwise(widths))
        self.paint = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, code: Float[Tensor, "b d"], size: int) -> Float[Tensor, "b 3 size size"]:
        x = F.relu(self.start(code)).view(len(code), -1, START, START)
        for side, stage in zip(sides(size), self.stages, strict=True):
            x = stage(F.interpolate(x, (side, side)))
        picture: Tensor = self.paint(x)
        return picture.float()


def sides(size: int) -> list[int]:
    """How large the map is at each stage: the last time as large as the picture."""
    return [round(START * (size / START) ** (stage / STAGES)) for stage in range(1, STAGES + 1)]


def _stage(dim_in: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(dim_in, dim, 3, padding=1, bias=False), BatchNorm(dim), nn.ReLU())
