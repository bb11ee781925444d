"""A slow copy of a network, as target or as teacher."""

import copy
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .net import Net


class Momentum(nn.Module):
    """Starts as a copy of the network, then an exponential moving average of its weights.

    Its batch norms keep statistics of their own forward passes, in train mode, as BYOL's do; buffers are not averaged.
    """

    def __init__(self, net: Net):
        super().__init__()
        self.net = copy.deepcopy(net).requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        projection: Tensor = self.net(images)
        return projection

    @torch.no_grad()
    def follow(self, net: nn.Module, momentum: float) -> None:
        """target <- momentum * target + (1 - momentum) * net."""
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - momentum)


def start_for(steps: int) -> float:
    """Where momentum starts for a training of so many steps, if not told: what is left of the random network in the
    target at the end is e^-8, between the 0.996 of BYOL's longest training and 0.9."""
    return 1 - min(0.1, max(0.004, 16 / max(steps, 1)))


def momentum_at(start: float | None, step: int, steps: int) -> float:
    """From `start` to 1 by a cosine over this training's own steps (DnC appendix E, equation 3)."""
    first = start_for(steps) if start is None else start
    return 1 - (1 - first) * (math.cos(math.pi * step / steps) + 1) / 2
