"""Jigsaw puzzles (https://arxiv.org/abs/1603.09246): tell in which of many permutations nine tiles of an image are shown."""

import functools
import itertools
import math
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from .. import dist
from ..data.views.presets import plain
from ..data.views.view import View
from ..nets.heads import regressor
from ..nets.net import Net, width
from ..nets.patches import PATCHES, ROW, corners, cut, standardized
from .contract import Batch, Method, Outcome, Step
from .settings import PaperSettings, Settings, SmallSettings, measured

TILE = 64 / 75  # the side of a tile, as a share of its cell; its place in the cell is random (section 4.2)
GRAY = 0.3  # the share of gray images: the color fringes of a lens are no help there

Permutations = Annotated[int, Field(ge=2, le=math.factorial(PATCHES))]


class Jigsaw(Method):
    """The encoder runs on each tile alone. The classifier gets the concatenated features of the nine.

    The view that is cut into tiles is `zoom` times as wide as the recipe's. The paper also moves the color channels against each
    other; that is left out.
    """

    about = "tell in which permutation nine tiles of an image are shown"
    sizes_by = (("zoom", 3), ("zoom", 4), ("zoom", 5), ("zoom", 1))
    permutations: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        permutations: Permutations = 1000,
        hidden: PositiveInt = 4096,
        zoom: PositiveInt = 2,
    ):
        super().__init__()
        self.net = Net(encoder)
        self.classifier = regressor(PATCHES * width(encoder), hidden, permutations)
        self.register_buffer("permutations", torch.tensor(distant_permutations(permutations)))
        self.zoom = zoom

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return (replace(plain(pair[0]), size=self.zoom * pair[0].size, gray=GRAY),)

    def sides(self, pair: tuple[View, View]) -> set[int]:
        return {tile_side(self.views(pair)[0].size)}

    def forward(self, batch: Batch, at: Step) -> Outcome:
        tiles = random_tiles(batch.views[0])
        u = dist.draw_rows(torch.rand, len(tiles), device=tiles.device)
        targets = (u * len(self.permutations)).long()
        shown = permute_tiles(tiles, self.permutations[targets])
        features = self.net(shown.flatten(0, 1)).unflatten(0, (-1, PATCHES)).flatten(1)
        logits = self.classifier(features).float()
        accuracy = (logits.argmax(1) == targets).float().mean()
        loss, chance = F.cross_entropy(logits, targets), math.log(len(self.permutations))
        return Outcome(loss, {"accuracy": accuracy}, features=features.detach(), chance=chance)


def random_tiles(images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 9 3 side side"]:
    """A random tile from each cell of a grid of 3 x 3, row by row, each normalized to mean 0 and deviation 1."""
    cell, side = images.shape[-1] // ROW, tile_side(images.shape[-1])
    u = dist.draw_rows(torch.rand, len(images), PATCHES, 2, device=images.device)
    return standardized(cut(images, corners(u, cell, cell - side), side))


def tile_side(size: int) -> int:
    """The side of a tile, in pixels, in a view of `size` pixels."""
    return round(TILE * (size // ROW))


def permute_tiles(tiles: Float[Tensor, "b 9 3 s s"], permutation: Int64[Tensor, "b 9"]) -> Float[Tensor, "b 9 3 s s"]:
    """The tiles of each image, reordered: tile permutation[i] becomes tile i."""
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None], permutation]


@functools.cache
def distant_permutations(count: int) -> list[list[int]]:
    """Permutations of nine. Each has the largest sum of Hamming distances to those before it (algorithm 1 of the paper), and,
    among several such, the largest distance to the nearest of them."""
    every = np.array(list(itertools.permutations(range(PATCHES))), np.int8).T.copy()
    total, nearest = np.zeros(every.shape[1], np.int32), np.full(every.shape[1], PATCHES, np.int32)
    chosen = [0]
    while len(chosen) < count:
        distance = sum((place != place[chosen[-1]]).astype(np.int32) for place in every)
        total += distance
        np.minimum(nearest, distance, out=nearest)
        chosen.append(int(np.where(nearest > 0, total * (PATCHES + 1) + nearest, -1).argmax()))
    return [[int(tile) for tile in every[:, column]] for column in chosen]


SETTINGS: dict[str, Settings] = {
    "jigsaw": SmallSettings(
        about="jigsaw puzzles alone for the whole budget",
        expected=measured(clip_art=(3.4, 55.2, 55.7), fashion=(5.3, 73.0, 74.7)),
        notes="There are 64 permutations of the tiles; the paper has 1,000, which a short training has no steps to learn.",
        options={"permutations": 64},
    ),
    "jigsaw_paper": PaperSettings(
        about="jigsaw puzzles with the paper's settings",
        expected="a ResNet-50 has 46.0 linear accuracy on ImageNet in ClusterFit's table. The paper's own numbers are AlexNet's.",
        notes="The view that is cut has the size of the recipe's (zoom=1): at 224 pixels, the paper's tiles of 64 within rounding. Any "
        "encoder takes the place of AlexNet. We do not know when the paper's rate falls: here it falls by a cosine. Settings "
        "are cited from memory.",
        imagenet_epochs=350_000 * 256 / 1_281_167,  # 350,000 steps of 256 images
        optimizer="sgd",
        lr=0.01,
        weight_decay=5e-4,
        warmup=0,
        batch_size=256,
        views="crop",
        options={"permutations": 1000, "hidden": 4096, "zoom": 1},
    ),
}
