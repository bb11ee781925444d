"""Adversarial autoencoder (https://arxiv.org/abs/1511.05644): reconstruct an image from a code that a discriminator can't tell
from a random one."""

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call

from .. import dist
from ..data.views.presets import plain
from ..data.views.view import View
from ..nets.decoder import Decoder
from ..nets.net import Net
from .contract import Batch, Method, Outcome, Step
from .settings import PaperSettings, Settings, SmallSettings, measured


class AdversarialAutoencoder(Method):
    """The code is the net's projection; the prior is Gaussian.

    The paper alternates two phases, each with its own rate. Here their losses are added, and `weight` takes the place of those
    rates. `channels` is the width of the decoder's first feature map.
    """

    advice = "lower base.options.weight or base.lr: the discriminator may be too strong"
    about = "reconstruct an image from a code that looks Gaussian to a discriminator"

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        weight: PositiveFloat = 0.1,
        hidden: PositiveInt = 1000,
        dim: PositiveInt = 8,
        channels: Annotated[int, Field(ge=8)] = 256,
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim, norm_output=False)
        self.decoder = Decoder(dim, channels)
        self.discriminator = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        self.weight = weight

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return (plain(pair[0]),)

    def forward(self, batch: Batch, at: Step) -> Outcome:
        (images,) = batch.views
        code = self.net(images)
        reconstruction = F.mse_loss(self.decoder(code, images.shape[-1]), images.float())
        discriminator, generator = self._discriminator_loss(code.detach()), self._generator_loss(code)
        logs = {"reconstruction": reconstruction.detach(), "discriminator": discriminator.detach()}
        return Outcome(reconstruction + self.weight * (discriminator + generator), logs, features=code.detach())

    def _discriminator_loss(self, code: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
        """The discriminator is to give 1 for codes from the prior, and 0 for the encoder's."""
        prior = dist.draw_rows(torch.randn, *code.shape, device=code.device)
        return _bce(self.discriminator(prior), 1) / 2 + _bce(self.discriminator(code), 0) / 2

    def _generator_loss(self, code: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
        """The discriminator, whose weights get no gradient from it, is to give 1 for the encoder's codes."""
        frozen = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        return _bce(functional_call(self.discriminator, frozen, (code,)), 1)


def _bce(logits: Float[Tensor, "b 1"], target: int) -> Float[Tensor, ""]:
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits.float(), target))


SETTINGS: dict[str, Settings] = {
    "adversarial_autoencoder": SmallSettings(
        about="an adversarial autoencoder alone for the whole budget",
        expected=measured(clip_art=(0.9, 56.3, 55.9), fashion=(1.3, 71.9, 76.7)),
        scaled={"channels": lambda scale: 64 if scale.slim_encoder else 256},
    ),
    "adversarial_autoencoder_paper": PaperSettings(
        about="an adversarial autoencoder with its paper's heads, for 90 ImageNet-epochs",
        expected="the paper has no number for large photos. It trains on digits, house numbers and faces of up to 48 pixels.",
        notes="Encoder and decoder are convolutional; the paper's have two layers of 1,000. The hidden layers of 1,000 and the "
        "code of 8 are the paper's. Rate, decay and length are ours: the paper gives them for digits only.",
        imagenet_epochs=90,
        optimizer="sgd",
        lr=0.1,
        weight_decay=1e-4,
        batch_size=256,
        views="crop",
        options={"weight": 0.1, "hidden": 1000, "dim": 8, "channels": 256},
    ),
}
