"""SimCLR (https://arxiv.org/abs/2002.05709): tell two views of an image from all other views in the batch."""

import math

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from .. import dist
from ..losses import nt_xent
from ..nets.net import Net
from .contract import Batch, Method, Outcome, Step
from .settings import PaperSettings, Settings, SmallSettings, measured


class SimCLR(Method):
    """Both views go through the network as one batch, and through its batch norms, as in the authors' code
    (https://github.com/google-research/simclr, model.py). SimCLR v2 (https://arxiv.org/abs/2006.10029) is the same with
    `layers=3`."""

    about = "contrast two views of an image with all other views in the batch"

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        temperature: PositiveFloat = 0.1,
        hidden: PositiveInt = 2048,
        dim: PositiveInt = 128,
        layers: PositiveInt = 2,
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim, layers=layers)
        self.temperature = temperature

    def forward(self, batch: Batch, at: Step) -> Outcome:
        a, b = self.net(torch.cat(list(batch.views))).chunk(2)
        chance = math.log(2 * len(a) * dist.world_size() - 1)
        return Outcome(nt_xent(a, b, self.temperature), features=a.detach(), chance=chance)


SETTINGS: dict[str, Settings] = {
    "simclr": SmallSettings(
        about="SimCLR alone for the whole budget",
        expected=measured(clip_art=(0.9, 61.7, 59.7), fashion=(1.1, 74.5, 80.1)),
    ),
    "simclr_paper": PaperSettings(
        about="SimCLR with its paper's settings, 1000 ImageNet-epochs",
        expected="the paper's linear accuracy on ImageNet is 69.3.",
        imagenet_epochs=1000,
        optimizer="lars",
        lr=0.3,
        weight_decay=1e-6,
        views="simclr",
        options={"hidden": 2048, "dim": 128},
    ),
    "simclr_v2": SmallSettings(
        about="SimCLR v2 alone for the whole budget: a projector of three layers",
        expected=measured(clip_art=(0.9, 60.5, 59.6), fashion=(1.1, 74.8, 80.0)),
        options={"layers": 3},
    ),
    "simclr_v2_paper": PaperSettings(
        about="SimCLR v2 with its paper's settings, 1000 ImageNet-epochs",
        expected="the paper's linear accuracy on ImageNet is 71.7 (ResNet-50).",
        notes="The projector has three layers. The paper's memory is left out.",
        imagenet_epochs=1000,
        optimizer="lars",
        lr=0.3,
        weight_decay=1e-4,
        views="simclr",
        options={"hidden": 2048, "dim": 128, "layers": 3},
    ),
}
