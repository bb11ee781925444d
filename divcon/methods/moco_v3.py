"""MoCo v3 (https://arxiv.org/abs/2104.02057): predict a momentum encoder's projection and tell it from the batch's others."""

import math

from pydantic import PositiveFloat, PositiveInt
from torch import nn

from .. import dist
from ..losses import info_nce
from ..nets.heads import regressor
from ..nets.momentum import Momentum
from ..nets.net import Net
from .contract import At, Batch, Outcome, Share
from .momentum_method import MomentumMethod


class MoCoV3(MomentumMethod):
    """MoCLR with a predictor, for a ResNet: the projector ends with batch norm, the predictor does not. Both ways, over
    the global batch, times 2 temperature (the paper's algorithm 1). `momentum` of 0.99 is for 300 epochs and fewer."""

    about = "predict a momentum encoder's view and tell it from those of the same batch"

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        temperature: PositiveFloat = 1.0,
        momentum: Share | None = 0.996,
        hidden: PositiveInt = 4096,
        dim: PositiveInt = 256,
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim)
        self.predictor = regressor(dim, hidden, dim)
        self.target = Momentum(self.net)
        self.temperature, self.momentum = temperature, momentum

    def forward(self, batch: Batch, at: At) -> Outcome:
        a, b = batch.views
        seen = self.net(a)
        one_way = info_nce(self.predictor(seen), self.target(b), self.temperature)
        other_way = info_nce(self.predictor(self.net(b)), self.target(a), self.temperature)
        scale = 2 * self.temperature
        chance = scale * 2 * math.log(len(a) * dist.world_size())
        return Outcome(scale * (one_way + other_way), features=seen.detach(), chance=chance)
