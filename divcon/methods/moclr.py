"""MoCLR: SimCLR with a momentum encoder and BYOL's views (DnC, https://arxiv.org/abs/2105.08054, section 3.1)."""

import math

from pydantic import PositiveFloat, PositiveInt
from torch import nn

from .. import dist
from ..losses import info_nce
from ..nets.momentum import Momentum
from ..nets.net import Net
from .contract import Batch, Outcome, Share, Step
from .momentum_method import MomentumMethod
from .settings import PaperSettings, Settings, SmallSettings, measured


class MoCLR(MomentumMethod):
    """The negatives are the other images of the batch of all ranks, in their other view, projected by the momentum encoder.
    There is no queue and no predictor. With `momentum=None` the first momentum is computed from the number of steps."""

    about = "contrast with a momentum encoder's view of the same batch; the base and the experts of DnC"

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        temperature: PositiveFloat = 0.1,
        momentum: Share | None = 0.996,
        hidden: PositiveInt = 4096,
        dim: PositiveInt = 256,
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim)
        self.target = Momentum(self.net)
        self.temperature, self.momentum = temperature, momentum

    def forward(self, batch: Batch, at: Step) -> Outcome:
        a, b = batch.views
        projection = self.net(a)
        one_way = info_nce(projection, self.target(b), self.temperature)
        other_way = info_nce(self.net(b), self.target(a), self.temperature)
        chance = 2 * math.log(len(a) * dist.world_size())
        # the sum, not the mean: DnC equation 1 and the line below it
        return Outcome(one_way + other_way, features=projection.detach(), chance=chance)


SETTINGS: dict[str, Settings] = {
    "moclr": SmallSettings(
        about="MoCLR alone for the whole budget: what DnC has to beat",
        expected="Open Clip Art, epochs=15 encoder=slim10 size=32, about 5 minutes on two cores: 20-NN 63.9 +- 0.1, linear 62.8 "
        "+- 0.7 (3 seeds; untrained 56.1 / 56.0). At "
        + measured(clip_art=(3.2, 62.5, 60.6), fashion=(3.2, 74.2, 78.5)),
    ),
    "moclr_paper": PaperSettings(
        about="MoCLR with the settings of DnC's paper, 1000 ImageNet-epochs",
        expected="the paper's linear accuracy on ImageNet is 74.3 (table 1); 66.6 after JFT-300M and 65.1 after YFCC100M (table 3).",
        notes="The paper gives no temperature: 0.1 is SimCLR's.",
        imagenet_epochs=1000,
        optimizer="lars",
        lr=0.3,
        weight_decay=1.5e-6,
        options={"momentum": 0.996, "hidden": 4096, "dim": 256},
    ),
}
