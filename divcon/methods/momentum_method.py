"""The common part of methods with a momentum network."""

import torch
from torch import Tensor

from ..nets.momentum import Momentum, momentum_at
from ..nets.net import Net
from .contract import Method, Step


class MomentumMethod(Method):
    """A method whose `target` is a moving average of its net.

    The momentum rises from `momentum` to 1 by a cosine. None derives its start from the number of steps.
    """

    target: Momentum
    momentum: float | None

    def start_from(self, net: Net) -> None:
        super().start_from(net)
        self.target.copy(self.net)  # in place: a compiled forward knows its modules

    @torch.no_grad()
    def after_step(self, update: tuple[Tensor, ...], at: Step) -> None:
        self.target.follow(self.net, self.momentum_of(at))

    def momentum_of(self, at: Step) -> float:
        """The momentum at this step."""
        return momentum_at(self.momentum, at.step, at.steps)
