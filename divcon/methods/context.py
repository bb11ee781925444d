"""Context prediction (https://arxiv.org/abs/1505.05192): tell on which side of one patch of an image another one lies."""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import PositiveInt
from torch import Tensor, nn

from .. import dist
from ..data.views.presets import plain
from ..data.views.view import View
from ..nets.heads import regressor
from ..nets.net import Net, width
from ..nets.patches import PATCHES, ROW, corners, cut
from .contract import Batch, Method, Outcome, Share, Step
from .settings import PaperSettings, Settings, SmallSettings, measured

PATCH, GAP, JITTER = 96, 48, 7  # pixels in the paper (section 3.1); here their proportions count
EXTENT = ROW * PATCH + (ROW - 1) * GAP + 2 * JITTER
CENTER, SIDES = PATCHES // 2, PATCHES - 1
NOISE = 0.01  # in place of a color channel, in standard deviations of the channel that stays


class Context(Method):
    """A patch and one of its eight neighbors, from a view `zoom` times as wide as the recipe's.

    In a share of `drop` of the patches, noise replaces two of the three color channels, because the color fringes of a lens
    tell the place of a patch in a photo. The paper also lowers the resolution of some patches; that is left out.
    """

    about = "tell on which side of a patch of an image another patch lies"
    sizes_by = (("zoom", 3), ("zoom", 4), ("zoom", 5), ("zoom", 1))

    def __init__(
        self, encoder: nn.Module, n_images: int, *, drop: Share = 1.0, hidden: PositiveInt = 4096, zoom: PositiveInt = 2
    ):
        super().__init__()
        self.net = Net(encoder)
        self.classifier = regressor(2 * width(encoder), hidden, SIDES)
        self.drop, self.zoom = drop, zoom

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return (replace(plain(pair[0]), size=self.zoom * pair[0].size),)

    def sides(self, pair: tuple[View, View]) -> set[int]:
        return {patch_grid(self.views(pair)[0].size)[0]}

    def forward(self, batch: Batch, at: Step) -> Outcome:
        patches, targets = patch_pairs(batch.views[0])
        features = self.net(drop_colors(patches, self.drop).flatten(0, 1)).unflatten(0, (-1, 2))
        logits = self.classifier(features.flatten(1)).float()
        accuracy = (logits.argmax(1) == targets).float().mean()
        loss = F.cross_entropy(logits, targets)
        return Outcome(loss, {"accuracy": accuracy}, features=features[:, 0].detach(), chance=math.log(SIDES))


def patch_pairs(images: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b 2 3 side side"], Int64[Tensor, "b"]]:
    """The patch in the middle and a random one of the eight beside it; the number of that one, in 0..7, row by row."""
    side, step, slack = patch_grid(images.shape[-1])
    u = dist.draw_rows(torch.rand, len(images), PATCHES, 2, device=images.device)
    neighbor = (dist.draw_rows(torch.rand, len(images), device=images.device) * SIDES).long()
    cells = torch.stack([torch.full_like(neighbor, CENTER), neighbor + (neighbor >= CENTER)], 1)
    top_left = corners(u, step, slack).take_along_dim(cells[..., None], 1)
    return cut(images, top_left, side), neighbor


def patch_grid(size: int) -> tuple[int, int, int]:
    """The side of a patch, the step from one to the next, and the range of its random shift, in pixels, in a view of `size`."""
    side = size * PATCH // EXTENT
    step = side + side * GAP // PATCH
    slack = size - (ROW - 1) * step - side
    return side, step, min(max(2, 2 * side * JITTER // PATCH), slack)


def drop_colors(patches: Float[Tensor, "b n 3 s s"], share: float) -> Float[Tensor, "b n 3 s s"]:
    """The patches, about this share of them with faint noise in place of two of the three color channels."""
    (b, n), device = patches.shape[:2], patches.device
    u = dist.draw_rows(torch.rand, b, n, 2, device=device)
    chosen = torch.arange(3, device=device) == (u[..., :1] * 3).long()
    std = (patches.std((3, 4)) * chosen).sum(2).view(b, n, 1, 1, 1)
    noise = dist.draw_rows(torch.randn, *patches.shape, device=device) * NOISE * std
    stays = chosen | (u[..., 1:] >= share)
    return torch.where(stays[..., None, None], patches, noise)


SETTINGS: dict[str, Settings] = {
    "context": SmallSettings(
        about="context prediction alone for the whole budget",
        expected=measured(clip_art=(0.8, 58.4, 58.6), fashion=(1.1, 70.6, 74.1)),
        notes="Patches keep their three colors; the paper's keep one. The encoder is later asked about images in color.",
        options={"drop": 0.0},
    ),
    "context_paper": PaperSettings(
        about="context prediction with the paper's settings, as far as it says",
        expected="the paper's own number is for detection: 46.3 mAP of R-CNN on VOC 2007, cited from memory. It has no linear "
        "accuracy on ImageNet.",
        notes="At 224 pixels a view of 448 gives patches of 108; the paper's have 96. We do not know the paper's batch, rate, "
        "decay and length (it says four weeks): those of recipe=jigsaw_paper stand in for them.",
        imagenet_epochs=70,
        optimizer="sgd",
        lr=0.01,
        weight_decay=5e-4,
        warmup=0,
        batch_size=256,
        views="crop",
        options={"drop": 1.0, "hidden": 4096},
    ),
}
