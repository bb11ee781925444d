"""SimCLR (https://arxiv.org/abs/2002.05709): tell two views of an image from all other images in the batch."""

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from ..losses import nt_xent
from ..method import At, Batch, Method, Outcome
from ..nets.net import Net


class SimCLR(Method):
    """Both views go through the network as one batch, and through its batch norms, as in the authors' code
    (https://github.com/google-research/simclr, model.py)."""

    about = "contrast two views of an image with all other views in the batch"

    def __init__(
        self, encoder: nn.Module, n_images: int, *, temperature: PositiveFloat = 0.1, hidden: PositiveInt = 2048, dim: PositiveInt = 128
    ):  # fmt: skip
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim)
        self.temperature = temperature

    def forward(self, batch: Batch, at: At) -> Outcome:
        a, b = self.net(torch.cat(list(batch.views))).chunk(2)
        return Outcome(nt_xent(a, b, self.temperature))
