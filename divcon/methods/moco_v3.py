"""MoCo v3 (https://arxiv.org/abs/2104.02057): predict a momentum encoder's projection, and tell it from those of the batch."""

import math

from pydantic import PositiveFloat, PositiveInt
from torch import nn

from .. import dist
from ..losses import info_nce
from ..nets.heads import regressor
from ..nets.momentum import Momentum
from ..nets.net import Net
from .contract import Batch, Outcome, Share, Step
from .momentum_method import MomentumMethod
from .settings import PaperSettings, Settings, SmallSettings, measured


class MoCoV3(MomentumMethod):
    """MoCLR with a predictor, for a ResNet: the projector ends with batch norm, the predictor does not.

    The loss has both directions, over the global batch, times 2 temperature (the paper's algorithm 1). For 300 epochs and fewer
    the paper has a `momentum` of 0.99. `momentum=None` derives its start from the number of steps.
    """

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

    def forward(self, batch: Batch, at: Step) -> Outcome:
        a, b = batch.views
        projection = self.net(a)
        one_way = info_nce(self.predictor(projection), self.target(b), self.temperature)
        other_way = info_nce(self.predictor(self.net(b)), self.target(a), self.temperature)
        scale = 2 * self.temperature
        chance = scale * 2 * math.log(len(a) * dist.world_size())
        return Outcome(scale * (one_way + other_way), features=projection.detach(), chance=chance)


SETTINGS: dict[str, Settings] = {
    "moco_v3": SmallSettings(
        about="MoCo v3 alone for the whole budget",
        expected=measured(clip_art=(2.6, 60.7, 59.4), fashion=(2.8, 74.2, 77.4)),
    ),
    "moco_v3_paper": PaperSettings(
        about="MoCo v3 with its paper's settings, 1000 ImageNet-epochs",
        expected="the paper's linear accuracy on ImageNet is 74.6.",
        notes="These are the paper's settings for a ResNet. For 300 epochs and fewer it has base.options.momentum=0.99 and "
        "base.weight_decay=1e-6.",
        imagenet_epochs=1000,
        optimizer="lars",
        lr=0.3,
        weight_decay=1.5e-6,
        views="moco_v3",
        options={"momentum": 0.996, "hidden": 4096, "dim": 256},
    ),
}
