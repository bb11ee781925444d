"""A momentum network: the exponential moving average of a network."""

import copy
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .net import Net


class Momentum(nn.Module):
    """The exponential moving average of a network's weights, which begins as a copy of the network.

    Its batch norms keep the statistics of their own forward passes in train mode, as BYOL's do. Buffers are not averaged.
    """

    def __init__(self, net: Net):
        super().__init__()
        self.net = copy.deepcopy(net).requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        projection: Tensor = self.net(images)
        return projection

    def copy(self, net: nn.Module) -> None:
        """Become a copy of the network again, with the statistics of its batch norms."""
        self.net.load_state_dict(net.state_dict())

    @torch.no_grad()
    def follow(self, net: nn.Module, momentum: float) -> None:
        """Update the weights: weight <- momentum * weight + (1 - momentum) * the net's weight."""
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - momentum)


def initial_momentum(steps: int) -> float:
    """Return the momentum at the first step of a training of so many steps.

    It is chosen so that a share of e^-8 of the random network is left at the end, between 0.9 and the 0.996 of BYOL's
    longest training.
    """
    return 1 - min(0.1, max(0.004, 16 / max(steps, 1)))


def momentum_at(start: float | None, step: int, steps: int) -> float:
    """Return the momentum at a step: from `start`, by a cosine, to 1 at the end (DnC appendix E, equation 3).

    With `start=None` it begins at `initial_momentum(steps)`.
    """
    first = initial_momentum(steps) if start is None else start
    return 1 - (1 - first) * (math.cos(math.pi * step / steps) + 1) / 2
