"""A fully convolutional network on an encoder, and the overlap of the classes that it tells for pixels."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.pixels.pixels import Pixels
from ..data.sampler import Sampler
from ..errors import UsageError
from ..log import progress
from ..machine import Machine
from ..nets.trained import InputSpec, Trained
from ..rng import seed_for, uniforms
from ..train.encode import to_input
from ..train.schedules import learning_rate, steps_for

VOID = 255
MaskOf = Callable[[int], UInt8[np.ndarray, "h w"]]  # from the position of an image to the class of each pixel


@dataclass(frozen=True, kw_only=True)
class SegmentationTraining:
    """SGD with momentum: `rate` falls to 0 by a cosine. Images are shown as squares of `side` pixels, half of them flipped."""

    rate: float
    epochs: int
    batch_size: int
    side: int
    seed: int
    weight_decay: float = 1e-4


class Maps(nn.Module):
    """The last map of an encoder, as torchvision's models take it."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        method: object = self.encoder.forward_features
        assert callable(method)
        maps: Tensor = method(images)
        return maps

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b c h2 w2"]]:
        maps: Tensor = self.encode(images)
        return {"out": maps}


def fcn(encoder: nn.Module, input_spec: InputSpec, classes: int) -> nn.Module:
    """Return torchvision's FCN on a copy of the encoder: images [B, 3, h, w] -> {"out": logits [B, classes, h, w]}.

    Raises UsageError for an encoder that gives no map.
    """
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    maps, side = Maps(copy.deepcopy(encoder)), input_spec.size
    last = None
    if hasattr(encoder, "forward_features"):
        with torch.no_grad():
            last = maps.eval()(torch.zeros(1, 3, side, side))["out"]
    if last is None or last.ndim != 4 or last.shape[-1] >= side or last.shape[1] < last.shape[-1]:
        raise UsageError("this encoder gives no map [channels, height, width] of an image; take a convolutional one")
    network: nn.Module = FCN(maps, FCNHead(last.shape[1], classes))
    return network


class Segmenter:
    """An FCN on a copy of a model's encoder, trained on images and the classes of their pixels."""

    def __init__(self, model: Trained, pixels: Pixels, mask_of: MaskOf, classes: int, machine: Machine, seed: int):
        self.pixels, self.mask_of, self.machine, self.input_spec = pixels, mask_of, machine, model.input_spec
        torch.manual_seed(seed_for(seed, "segmentation head"))
        self.network = fcn(model.net.encoder, model.input_spec, classes)

    def fit(self, positions: NDArray[np.int64], recipe: SegmentationTraining) -> None:
        """Train all layers on the images at `positions`."""
        batch_size = min(recipe.batch_size, max(2, len(positions) // 2))
        sampler, steps = (
            Sampler(len(positions), batch_size, recipe.seed),
            steps_for(recipe.epochs * len(positions), batch_size),
        )
        network = self.machine.to_device(self.network).train()
        optimizer = torch.optim.SGD(
            network.parameters(), lr=recipe.rate, momentum=0.9, weight_decay=recipe.weight_decay
        )
        for step in range(steps):
            torch.manual_seed(seed_for(recipe.seed, "segmentation", step))  # for dropout
            places, epochs = sampler.batch(step)
            images, masks = self._batch(positions[places], epochs, recipe)
            with self.machine.autocast():
                logits = network(images)["out"].float()
            optimizer.zero_grad()
            loss = F.cross_entropy(logits, masks, ignore_index=VOID, reduction="sum")
            torch.autograd.backward(loss / (masks != VOID).sum().clamp(min=1))
            optimizer.param_groups[0]["lr"] = learning_rate(step, steps, peak=recipe.rate, warmup=0)
            optimizer.step()
            progress("segmentation", step + 1, steps)

    def _batch(
        self, positions: NDArray[np.int64], epochs: NDArray[np.int64], recipe: SegmentationTraining
    ) -> tuple[Float[Tensor, "b 3 s s"], Int64[Tensor, "b s s"]]:
        """Return the images and the classes of their pixels as squares, flipped by the seed, the epoch and the position."""
        images, masks = self._squares(positions, recipe.side)
        flip = uniforms((recipe.seed, "flip"), positions + epochs * len(self.pixels), 1)[:, 0] < 0.5
        chosen = torch.from_numpy(flip).to(images.device)
        flipped = torch.where(chosen[:, None, None, None], images.flip(3), images)
        return flipped, torch.where(chosen[:, None, None], masks.flip(2), masks)

    def _squares(
        self, positions: NDArray[np.int64], side: int
    ) -> tuple[Float[Tensor, "b 3 s s"], Int64[Tensor, "b s s"]]:
        masks = [torch.from_numpy(self.mask_of(int(position)))[None, None] for position in positions]
        small = torch.cat([F.interpolate(mask, (side, side), mode="nearest") for mask in masks])[:, 0]
        return self._images(positions, side), small.long().to(self.machine.device)

    def _images(self, positions: NDArray[np.int64], side: int) -> Float[Tensor, "b 3 s s"]:
        packed, rows = self.pixels.read(positions)
        chosen = [torch.from_numpy(np.array(packed[int(row)])).permute(2, 0, 1)[None].float() for row in rows]
        square = torch.cat([F.interpolate(image, (side, side), mode="bilinear", antialias=True) for image in chosen])
        pixels = square.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
        return to_input(pixels, self.input_spec, self.machine)

    @torch.no_grad()
    def confusion(self, positions: NDArray[np.int64], classes: int, side: int) -> Int64[np.ndarray, "classes classes"]:
        """Return the number of pixels of each class (rows) that are told to be of each class (columns), at the masks' own size."""
        network, counts = self.network.eval(), np.zeros((classes, classes), np.int64)
        for position in positions:
            with self.machine.autocast():
                logits = network(self._images(np.array([position]), side))["out"].float().cpu()
            mask = self.mask_of(int(position))
            told = F.interpolate(logits, mask.shape, mode="bilinear")[0].argmax(0).numpy()
            counts += confusion_matrix(mask, told, classes)
        return counts


def confusion_matrix(
    mask: UInt8[np.ndarray, "h w"], told: Int64[np.ndarray, "h w"], classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """Return the counts of true and told classes of the pixels that count."""
    known = mask != VOID
    pairs = mask[known].astype(np.int64) * classes + told[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def overlaps(confusion: Int64[np.ndarray, "classes classes"]) -> list[float | None]:
    """Return, for each class, the pixels that are of it and told so, over those that are either; None for a class without
    pixels."""
    both, true, told = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    return [
        float(b / (t + p - b)) if t else None
        for b, t, p in zip(both.tolist(), true.tolist(), told.tolist(), strict=True)
    ]
