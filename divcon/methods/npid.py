"""Instance recognition, NPID (https://arxiv.org/abs/1805.01978): a class for each image. Its weight vector is the image's row in
a memory bank."""

import itertools
import math

import torch
from jaxtyping import Int64
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from .. import dist
from ..data.views.view import View
from ..losses import instance_nce, instance_softmax
from ..nets.memory_bank import MemoryBank
from ..nets.net import Net
from .contract import Batch, Method, Outcome, Share, Step
from .settings import PaperSettings, Settings, SmallSettings, measured


class NPID(Method):
    """The image's row of the memory bank against `negatives` random rows, or against all others where that is 0. Each row is a
    moving average of its image's projection with momentum `inertia`. The projector is linear, unless it has a `hidden` layer.

    `normalizer`, Z / n, is a constant in place of the mean of exp(cosine / temperature) over the memory bank. The paper takes the
    mean of the first batch; None takes its expected value: 2.21 for 128 dimensions at temperature 0.07.
    """

    about = "tell an image's row of a memory bank from the rows of others: a class for each image"

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
        self.normalizer = normalizer or expected_normalizer(dim, temperature)

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return pair[:1]

    def forward(self, batch: Batch, at: Step) -> Outcome:
        z = self.net(batch.views[0])
        rows, features = self.bank.rows, z.detach()
        if self.negatives == 0:
            loss = instance_softmax(z, rows, batch.index, self.temperature)
            return Outcome(loss, update=(batch.index, features), features=features, chance=math.log(len(rows)))
        noise = noise_positions(batch.index, self.negatives, len(rows))
        loss = instance_nce(z, rows, batch.index, noise, self.temperature, self.normalizer)
        return Outcome(loss, update=(batch.index, features), features=features, chance=nce_of_chance(self.negatives))

    @torch.no_grad()
    def after_step(self, update: tuple[Tensor, ...], at: Step) -> None:
        index, features = update
        self.bank.follow(index, features, self.inertia)


def noise_positions(index: Int64[Tensor, "b"], negatives: int, n: int) -> Int64[Tensor, "b m"]:
    """Positions of random images out of n, for each image of this rank: its part of those for the global batch."""
    first = dist.rank() * len(index)
    drawn = torch.randint(n, (len(index) * dist.world_size(), negatives), device=index.device)
    return drawn[first : first + len(index)]


def nce_of_chance(negatives: int) -> float:
    """The loss of a random guess, which gives the image itself the odds 1 to `negatives`."""
    return (1 + negatives) * math.log(1 + negatives) - negatives * math.log(negatives)


def expected_normalizer(dim: int, temperature: float) -> float:
    """The mean of exp(cosine / temperature) between random directions: the series of 0F1(; d / 2; 1 / (2 t)^2)."""
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
