"""BYOL (https://arxiv.org/abs/2006.07733): predict a momentum network's projection of the other view; no negatives."""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from ..losses import cosine_miss
from ..method import At, Batch, Method, Outcome, Share
from ..nets.heads import regressor
from ..nets.momentum import Momentum, momentum_at
from ..nets.net import Net


class BYOL(Method):
    """Neither projector nor predictor ends with batch norm. `momentum=None` starts it by the number of steps."""

    about = "predict a momentum encoder's projection of the other view, without negatives"

    def __init__(
        self, encoder: nn.Module, n_images: int, *,
        momentum: Share | None = 0.996, hidden: PositiveInt = 4096, dim: PositiveInt = 256,
    ):  # fmt: skip
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim, norm_output=False)
        self.predictor = regressor(dim, hidden, dim)
        self.target = Momentum(self.net)
        self.momentum = momentum

    def forward(self, batch: Batch, at: At) -> Outcome:
        a, b = batch.views
        seen = self.net(a)
        loss = cosine_miss(self.predictor(seen), self.target(b)) + cosine_miss(
            self.predictor(self.net(b)), self.target(a)
        )
        return Outcome(loss, {"spread": spread(seen)})

    def start_from(self, net: Net) -> None:
        super().start_from(net)
        self.target = Momentum(self.net)

    @torch.no_grad()
    def after_step(self, kept: Any, at: At) -> None:
        self.target.follow(self.net, momentum_at(self.momentum, at.step, at.steps))


def spread(seen: Tensor) -> Tensor:
    """How unlike one another the images look: 0 when the network sees the same in all of them."""
    return F.normalize(seen.detach().float(), dim=1).std(0).mean()
