"""Context prediction (https://arxiv.org/abs/1505.05192): tell on which side of one patch of a picture another one lay."""

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
from .contract import At, Batch, Method, Outcome, Share
from .settings import PaperSettings, Settings, SmallSettings, measured

PATCH, GAP, JITTER = 96, 48, 7  # pixels in the paper, of which the proportions are kept (section 3.1)
EXTENT = ROW * PATCH + (ROW - 1) * GAP + 2 * JITTER
CENTER, SIDES = PATCHES // 2, PATCHES - 1
FAINT = 0.01  # noise in place of a color, in spreads of the one that is left


class Context(Method):
    """A patch and one of its eight neighbors, from a view `zoom` times as wide as the recipe's. In a share of `drop` of the
    patches two colors of three give way to noise, because a lens' color fringes tell where in a photo a patch lay.
    Nothing stands for the paper's patches of low resolution."""

    about = "tell on which side of a patch of an image another patch lay"
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
        return {measures(self.views(pair)[0].size)[0]}

    def forward(self, batch: Batch, at: At) -> Outcome:
        patches, truth = neighbors(batch.views[0])
        pools = self.net(faded(patches, self.drop).flatten(0, 1)).unflatten(0, (-1, 2))
        logits = self.classifier(pools.flatten(1)).float()
        right = (logits.argmax(1) == truth).float().mean()
        loss = F.cross_entropy(logits, truth)
        return Outcome(loss, {"accuracy": right}, features=pools[:, 0].detach(), chance=math.log(SIDES))


def neighbors(images: Float[Tensor, "b 3 s s"]) -> tuple[Float[Tensor, "b 2 3 side side"], Int64[Tensor, "b"]]:
    """The patch in the middle and one beside it; which of the eight it is, row by row."""
    side, step, slack = measures(images.shape[-1])
    u = dist.draw_rows(torch.rand, len(images), PATCHES, 2, device=images.device)
    which = (dist.draw_rows(torch.rand, len(images), device=images.device) * SIDES).long()
    places = torch.stack([torch.full_like(which, CENTER), which + (which >= CENTER)], 1)
    at = corners(u, step, slack).take_along_dim(places[..., None], 1)
    return cut(images, at, side), which


def measures(size: int) -> tuple[int, int, int]:
    """In a view of so many pixels: a patch's side, how far it is to the next, and by how much each may be moved."""
    side = size * PATCH // EXTENT
    step = side + side * GAP // PATCH
    room = size - (ROW - 1) * step - side
    return side, step, min(max(2, 2 * side * JITTER // PATCH), room)


def faded(patches: Float[Tensor, "b n 3 s s"], share: float) -> Float[Tensor, "b n 3 s s"]:
    """In about this share of the patches, faint noise in place of two of the three colors."""
    (b, n), device = patches.shape[:2], patches.device
    u = dist.draw_rows(torch.rand, b, n, 2, device=device)
    left = torch.arange(3, device=device) == (u[..., :1] * 3).long()
    spread = (patches.std((3, 4)) * left).sum(2).view(b, n, 1, 1, 1)
    noise = dist.draw_rows(torch.randn, *patches.shape, device=device) * FAINT * spread
    stays = left | (u[..., 1:] >= share)
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
