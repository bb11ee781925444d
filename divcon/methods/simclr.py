"""SimCLR (https://arxiv.org/abs/2002.05709): tell two views of an image from all other images in the batch."""

import math

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from .. import dist
from ..losses import nt_xent
from ..nets.net import Net
from .contract import At, Batch, Method, Outcome


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

    def forward(self, batch: Batch, at: At) -> Outcome:
        a, b = self.net(torch.cat(list(batch.views))).chunk(2)
        chance = math.log(2 * len(a) * dist.world_size() - 1)
        return Outcome(nt_xent(a, b, self.temperature), features=a.detach(), chance=chance)
