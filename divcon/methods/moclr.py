"""MoCLR: SimCLR with a momentum encoder and BYOL's views (DnC, https://arxiv.org/abs/2105.08054, section 3.1)."""

from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from ..losses import info_nce
from ..method import At, Batch, Method, Outcome, Share
from ..nets.momentum import Momentum, momentum_at
from ..nets.net import Net


class MoCLR(Method):
    """Negatives are the momentum projections of the other view of the other images of the global batch; no queue, no
    predictor. `momentum=None` starts it by the number of steps. The paper gives no temperature: 0.1 is SimCLR's."""

    about = "contrast with a momentum encoder's view of the same batch; what DnC is made of"

    def __init__(
        self, encoder: nn.Module, n_images: int, *,
        temperature: PositiveFloat = 0.1, momentum: Share | None = 0.996, hidden: PositiveInt = 4096, dim: PositiveInt = 256,
    ):  # fmt: skip
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim)
        self.target = Momentum(self.net)
        self.temperature, self.momentum = temperature, momentum

    def forward(self, batch: Batch, at: At) -> Outcome:
        a, b = batch.views
        one_way = info_nce(self.net(a), self.target(b), self.temperature)
        other_way = info_nce(self.net(b), self.target(a), self.temperature)
        return Outcome(one_way + other_way)  # the sum, not the mean: DnC equation 1 and the line below it

    def start_from(self, net: Net) -> None:
        super().start_from(net)
        self.target = Momentum(self.net)

    @torch.no_grad()
    def after_step(self, kept: Any, at: At) -> None:
        self.target.follow(self.net, momentum_at(self.momentum, at.step, at.steps))
