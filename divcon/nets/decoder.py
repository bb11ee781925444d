"""A decoder from features to pixels, for methods that reconstruct images."""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .batch_norm import BatchNorm

START_SIZE = 4  # pixels on a side of the first map
STEPS = 3  # enlargements


class Decoder(nn.Module):
    """Decodes features into images of any size with the same weights.

    A linear layer makes a map of 4 x 4 pixels. Three steps enlarge it by equal factors, each followed by a convolution
    to half the channels; a last convolution makes the three colors.
    """

    def __init__(self, dim_in: int, channels: int):
        super().__init__()
        widths = [channels >> step for step in range(STEPS + 1)]
        self.start = nn.Linear(dim_in, channels * START_SIZE**2)
        self.steps = nn.ModuleList(_step(a, b) for a, b in pairwise(widths))
        self.to_rgb = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, code: Float[Tensor, "b d"], size: int) -> Float[Tensor, "b 3 size size"]:
        x = F.relu(self.start(code)).view(len(code), -1, START_SIZE, START_SIZE)
        for side, step in zip(sides(size), self.steps, strict=True):
            x = step(F.interpolate(x, (side, side)))
        images: Tensor = self.to_rgb(x)
        return images.float()


def sides(size: int) -> list[int]:
    """Return the sides of the map in pixels after each step; the last one is `size`."""
    return [round(START_SIZE * (size / START_SIZE) ** (step / STEPS)) for step in range(1, STEPS + 1)]


def _step(dim_in: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(dim_in, dim, 3, padding=1, bias=False), BatchNorm(dim), nn.ReLU())
