"""What methods with a momentum network have in common."""

from typing import Any

import torch

from ..nets.momentum import Momentum, momentum_at
from ..nets.net import Net
from .contract import At, Method


class MomentumMethod(Method):
    """A method whose `target` follows its net after each step, with a `momentum` that rises to 1; None starts it by the
    number of steps."""

    target: Momentum
    momentum: float | None

    def start_from(self, net: Net) -> None:
        super().start_from(net)
        self.target = Momentum(self.net)

    @torch.no_grad()
    def after_step(self, kept: Any, at: At) -> None:
        self.target.follow(self.net, self.momentum_of(at))

    def momentum_of(self, at: At) -> float:
        """This step's momentum."""
        return momentum_at(self.momentum, at.step, at.steps)
