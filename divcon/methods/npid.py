"""Instance recognition, NPID (https://arxiv.org/abs/1805.01978): a class for each image, in a memory of what was seen."""

import itertools
import math
from typing import Any

import torch
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from .. import dist
from ..data.views.view import View
from ..losses import instance_nce, instance_softmax
from ..nets.memory_bank import MemoryBank
from ..nets.net import Net
from .contract import At, Batch, Method, Outcome, Share
from .settings import PaperSettings, Settings, SmallSettings, measured


class NPID(Method):
    """The bank's row of the image is told from `negatives` rows at random, or from all others where that is 0. Each row
    follows what is seen of its image with momentum `inertia`. The projector is linear, unless it is given a `hidden`
    layer.

    `normalizer`, Z / n, is the constant that stands for the mean of exp(cosine / temperature) over the bank. The paper takes
    its first batch's, and None what that is in expectation: 2.21 for 128 dimensions at temperature 0.07.
    """

    about = "tell the memory of an image from the memories of others: a class for each image"

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        temperature: PositiveFloat = 0.07,
        negatives: NonNegativeInt = 4096,
        inertia: Share = 0.5,
        normalizer: PositiveFloat | None = None,
        hidden: NonNegativeInt = 0,
        dim: PositiveInt = 128,
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim, norm_output=False)
        self.bank = MemoryBank(n_images, dim)
        self.temperature, self.inertia = temperature, inertia
        self.negatives = min(negatives, n_images // 2)  # noise is of others: the image itself should seldom be in it
        self.normalizer = normalizer or of_random_directions(dim, temperature)

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return pair[:1]

    def forward(self, batch: Batch, at: At) -> Outcome:
        z = self.net(batch.views[0])
        rows, seen = self.bank.rows, z.detach()
        if self.negatives == 0:
            loss = instance_softmax(z, rows, batch.index, self.temperature)
            return Outcome(loss, kept=(batch.index, seen), features=seen, chance=math.log(len(rows)))
        noise = noise_for(batch.index, self.negatives, len(rows))
        loss = instance_nce(z, rows, batch.index, noise, self.temperature, self.normalizer)
        return Outcome(loss, kept=(batch.index, seen), features=seen, chance=nce_by_chance(self.negatives))

    @torch.no_grad()
    def after_step(self, kept: Any, at: At) -> None:
        index, seen = kept
        self.bank.follow(index, seen, self.inertia)


def noise_for(index: Int64[Tensor, "b"], negatives: int, n: int) -> Int64[Tensor, "b m"]:
    """Images at random for each of the batch, out of n: this rank's part of those of the global batch."""
    first = dist.rank() * len(index)
    drawn = torch.randint(n, (len(index) * dist.world_size(), negatives), device=index.device)
    return drawn[first : first + len(index)]


def nce_by_chance(negatives: int) -> float:
    """The loss of one that gives the image itself the odds of noise, 1 to `negatives`."""
    return (1 + negatives) * math.log(1 + negatives) - negatives * math.log(negatives)


def of_random_directions(dim: int, temperature: float) -> float:
    """The mean of exp(cosine / temperature) between directions at random: the series of 0F1(; d / 2; 1 / (2 t)^2)."""
    total = term = 1.0
    for k in itertools.count():
        term *= (2 * temperature) ** -2 / ((k + 1) * (dim / 2 + k))
        total += term
        if term < 1e-12 * total:
            break
    return total


SETTINGS: dict[str, Settings] = {
    "npid": SmallSettings(
        about="instance recognition (NPID) alone for the whole budget",
        expected=measured(clip_art=(0.8, 58.6, 58.3), fashion=(1.4, 74.1, 78.0)),
        notes="The whole softmax takes the place of noise: for so few images it costs less. The temperature is the paper's, because "
        "there are as many negatives as images, whatever the batch. The projector has a hidden layer, as other methods' have.",
        options={"negatives": 0, "temperature": 0.07},
    ),
    "npid_paper": PaperSettings(
        about="instance recognition (NPID) with its paper's settings",
        expected="its linear accuracy on ImageNet is 56.5 (ResNet-50, as DnC's table 17 has it).",
        notes="There are 4,096 rows of noise. Biases and batch norms are not decayed; in the authors' code they are.",
        imagenet_epochs=200,
        optimizer="sgd",
        lr=0.03,
        weight_decay=1e-4,
        warmup=0,
        drops=(0.6, 0.8),
        batch_size=256,
        views="npid",
        options={"dim": 128},
    ),
}
