"""RotNet (https://arxiv.org/abs/1803.07728): predict by how many quarter turns an image is rotated."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..data.views.presets import plain
from ..data.views.view import View
from ..nets.net import Net, width
from .contract import Batch, Method, Outcome, Share, Step
from .settings import PaperSettings, Settings, SmallSettings, measured

TURNS = 4


class Rotation(Method):
    """A batch has each image in all four rotations, which the paper found better than one at a time (section 3). `smoothing` of
    labels is ours."""

    about = "predict by how many quarter turns an image is rotated"

    def __init__(self, encoder: nn.Module, n_images: int, *, smoothing: Share = 0.0):
        super().__init__()
        self.net = Net(encoder)
        self.classifier = nn.Linear(width(encoder), TURNS)
        self.smoothing = smoothing

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return (plain(pair[0]),)

    def forward(self, batch: Batch, at: Step) -> Outcome:
        images, targets = rotations(batch.views[0])
        features = self.net(images)
        logits = self.classifier(features).float()
        accuracy = (logits.argmax(1) == targets).float().mean()
        loss = F.cross_entropy(logits, targets, label_smoothing=self.smoothing)
        upright = features[: len(batch.index)].detach()
        return Outcome(loss, {"accuracy": accuracy}, features=upright, chance=math.log(TURNS))


def rotations(images: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "n 3 s s"], Int64[Tensor, "n"]]:
    """The images in all four rotations, the upright ones first, and the number of quarter turns of each."""
    turns = torch.arange(TURNS, device=images.device).repeat_interleave(len(images))
    return torch.cat([images.rot90(k, (2, 3)) for k in range(TURNS)]), turns


SETTINGS: dict[str, Settings] = {
    "rotation": SmallSettings(
        about="rotation prediction (RotNet) alone for the whole budget",
        expected=measured(clip_art=(2.5, 59.9, 58.7), fashion=(1.7, 75.4, 80.6)),
    ),
    "rotation_paper": PaperSettings(
        about="rotation prediction (RotNet) with its paper's settings",
        expected="the paper's linear accuracy on ImageNet is 38.7 (AlexNet, its third layer); ResNet-50's is 48.9 in ClusterFit's "
        "table.",
        notes="Any encoder takes the place of AlexNet. Settings and numbers are cited from memory.",
        imagenet_epochs=30,
        optimizer="sgd",
        lr=0.01 * 256 / 192,
        weight_decay=5e-4,
        warmup=0,
        drops=(1 / 3, 2 / 3),  # after 10 and 20 epochs
        batch_size=192,
        views="crop",
    ),
}
