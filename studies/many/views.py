"""The views of a collection for many epochs, made once by the product's own code and kept on the device for all trainings."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from divcon.data.pixels.packed import PackedImages
from divcon.data.sampler import Sampler
from divcon.data.views.presets import PRESETS, center
from divcon.data.views.render import views_of
from divcon.nets.trained import InputSpec

PAIR = "mild"


def epoch_views(packed: PackedImages, epoch: int, size: int) -> UInt8[np.ndarray, "n 2 side side 3"]:
    """The two views of every image in an epoch."""
    n = len(packed)
    rows, samples = np.arange(n), np.arange(n) + epoch * n
    pair = PRESETS[PAIR](size)
    return np.stack([views_of(view, packed, rows, (0, "view", i), samples) for i, view in enumerate(pair)], 1)


def center_views(packed: PackedImages, size: int) -> UInt8[np.ndarray, "n side side 3"]:
    rows = np.arange(len(packed))
    return views_of(center(size), packed, rows, (), rows)


@dataclass(frozen=True)
class ViewPool:
    """The views of all images in `epochs` epochs [epochs * n, 2, side, side, 3], and their center views, on one device."""

    views: UInt8[Tensor, "rows 2 side side 3"]
    centers: UInt8[Tensor, "n side side 3"]
    epochs: int

    @classmethod
    def empty(cls, n: int, epochs: int, size: int, device: str) -> "ViewPool":
        """A pool to be filled by `put`."""
        views = torch.empty(epochs * n, 2, size, size, 3, dtype=torch.uint8, device=device)
        return cls(views, torch.empty(n, size, size, 3, dtype=torch.uint8, device=device), epochs)

    def __len__(self) -> int:
        return len(self.centers)

    def put(self, epoch: int, views: NDArray[np.uint8]) -> None:
        """Fill an epoch; epoch -1: the center views."""
        if epoch < 0:
            self.centers.copy_(torch.from_numpy(views))
        else:
            self.views[epoch * len(self) : (epoch + 1) * len(self)].copy_(torch.from_numpy(views))

    def rows(self, members: NDArray[np.int64], steps: int, batch: int, seed: int, first: int) -> Int64[Tensor, "s b"]:
        """The row of `views` for each image of each step: the order of the training loop on these members, and the views of
        epoch after epoch from the epoch `first` on; after the last one the pool begins again."""
        positions, epochs = Sampler(len(members), steps * batch, seed).batch(0)
        rows = (epochs + first) % self.epochs * len(self) + members[positions]
        return torch.from_numpy(rows.reshape(steps, batch))

    def blocks(self, size: int = 1024) -> Iterator[UInt8[Tensor, "b side side 3"]]:
        yield from torch.split(self.centers, size)


def as_input(pixels: UInt8[Tensor, "b side side 3"]) -> Tensor:
    """Normalized, channels last: a view of memory [b, side, side, 3]."""
    mean, std = _normalization(pixels.device)
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)


@functools.cache
def _normalization(device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept on the device, because a step that is recorded can't bring numbers from the host."""
    spec = InputSpec()
    mean, std = (torch.tensor(values, device=device) * 255 for values in (spec.mean, spec.std))
    return mean, std
