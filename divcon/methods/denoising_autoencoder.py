"""Denoising autoencoder (https://www.jmlr.org/papers/v11/vincent10a.html): reconstruct an image from the features of a noisy
copy. https://arxiv.org/abs/1305.6663 says what that learns."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat
from torch import nn

from .. import dist
from ..data.views.presets import plain
from ..data.views.view import View
from ..nets.decoder import Decoder
from ..nets.net import Net, width
from .contract import Batch, Method, Outcome, Step
from .settings import PaperSettings, Settings, SmallSettings, measured


class DenoisingAutoencoder(Method):
    """`noise` is the standard deviation of Gaussian noise on normalized pixels; `channels` the width of the decoder's first
    feature map."""

    about = "reconstruct an image from the features of a noisy copy"

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        noise: NonNegativeFloat = 0.5,
        channels: Annotated[int, Field(ge=8)] = 256,
    ):
        super().__init__()
        self.net = Net(encoder)
        self.decoder = Decoder(width(encoder), channels)
        self.noise = noise

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return (plain(pair[0]),)

    def forward(self, batch: Batch, at: Step) -> Outcome:
        (clean,) = batch.views
        noise = self.noise * dist.draw_rows(torch.randn, *clean.shape, device=clean.device)
        features = self.net(clean + noise)
        loss = F.mse_loss(self.decoder(features, clean.shape[-1]), clean.float())
        return Outcome(loss, features=features.detach())


SETTINGS: dict[str, Settings] = {
    "denoising_autoencoder": SmallSettings(
        about="a denoising autoencoder alone for the whole budget",
        expected=measured(clip_art=(0.9, 59.6, 58.0), fashion=(1.5, 77.7, 80.2)),
        scaled={"channels": lambda scale: 64 if scale.slim_encoder else 256},
    ),
    "denoising_autoencoder_paper": PaperSettings(
        about="a denoising autoencoder for 90 ImageNet-epochs",
        expected="the papers have no number for large photos, and no settings either. They train stacks of layers on digits and "
        "on small patches.",
        notes="Noise of half a color's standard deviation is the largest that the paper of 2010 tries. Rate, decay and length "
        "are ours, at the scale of the other methods' papers.",
        imagenet_epochs=90,
        optimizer="sgd",
        lr=0.1,
        weight_decay=1e-4,
        batch_size=256,
        views="crop",
        options={"noise": 0.5, "channels": 256},
    ),
}
