"""BYOL (https://arxiv.org/abs/2006.07733): predict a momentum network's projection of the other view; no negatives."""

from pydantic import PositiveInt
from torch import nn

from ..losses import cosine_regression
from ..nets.heads import regressor
from ..nets.momentum import Momentum
from ..nets.net import Net
from .contract import Batch, Outcome, Share, Step
from .momentum_method import MomentumMethod
from .settings import PaperSettings, Settings, SmallSettings, measured


class BYOL(MomentumMethod):
    """Neither projector nor predictor ends with batch norm. `momentum=None` derives its start from the number of steps."""

    advice = (
        "start with more momentum (base.options.momentum=0.99), or lower base.lr: without negatives, the features of different "
        "images may become alike"
    )
    about = "predict a momentum encoder's projection of the other view, without negatives"

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        momentum: Share | None = 0.996,
        hidden: PositiveInt = 4096,
        dim: PositiveInt = 256,
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim, norm_output=False)
        self.predictor = regressor(dim, hidden, dim)
        self.target = Momentum(self.net)
        self.momentum = momentum

    def forward(self, batch: Batch, at: Step) -> Outcome:
        a, b = batch.views
        projection = self.net(a)
        one_way = cosine_regression(self.predictor(projection), self.target(b))
        other_way = cosine_regression(self.predictor(self.net(b)), self.target(a))
        return Outcome(one_way + other_way, features=projection.detach())


SETTINGS: dict[str, Settings] = {
    "byol": SmallSettings(
        about="BYOL alone for the whole budget",
        expected=measured(clip_art=(1.6, 58.2, 57.2), fashion=(2.2, 70.6, 76.9)),
    ),
    "byol_paper": PaperSettings(
        about="BYOL with its paper's settings, 1000 ImageNet-epochs",
        expected="the paper's linear accuracy on ImageNet is 74.3.",
        imagenet_epochs=1000,
        optimizer="lars",
        lr=0.2,
        weight_decay=1.5e-6,
        options={"momentum": 0.996, "hidden": 4096, "dim": 256},
    ),
}
