"""A fully convolutional network on an encoder, which is trained to tell a value for each pixel."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.pixels.pixels import Pixels
from ..data.sampler import Sampler
from ..errors import FaultError, UsageError
from ..log import progress
from ..machine import Machine
from ..nets.trained import InputSpec, Trained
from ..rng import seed_for, uniforms
from ..train.encode import to_input
from ..train.schedules import learning_rate, steps_for

MapOf = Callable[[int], UInt8[np.ndarray, "h w"] | Float32[np.ndarray, "h w"]]  # from the position of an image
Loss = Callable[[Float[Tensor, "b c h w"], Tensor], Tensor]  # of outputs for each pixel, and of true values [b, h, w]
BatchLoss = Callable[[NDArray[np.int64], NDArray[np.int64]], Tensor]  # of the images at positions, and of their epochs


@dataclass(frozen=True, kw_only=True)
class DenseTraining:
    """SGD with momentum: `rate` rises over a share of the steps, `warmup`, and falls to 0 by a cosine. Images are shown with a short
    side of `side` pixels, half of them flipped. A gradient that is longer than `longest` is cut to it."""

    rate: float
    epochs: int
    batch_size: int
    side: int
    seed: int
    weight_decay: float = 1e-4
    warmup: float = 0.0
    longest: float = math.inf


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

    maps, channels = last_maps(encoder, input_spec)
    network: nn.Module = FCN(maps, FCNHead(channels, classes))
    return network


def last_maps(encoder: nn.Module, input_spec: InputSpec) -> tuple[Maps, int]:
    """Return a copy of the encoder that gives its last map, and the number of its channels. Raises UsageError if it has none."""
    maps, side = Maps(copy.deepcopy(encoder)), input_spec.size
    last = None
    if hasattr(encoder, "forward_features"):
        with torch.no_grad():
            last = maps.eval()(torch.zeros(1, 3, side, side))["out"]
    if last is None or last.ndim != 4 or last.shape[-1] >= side or last.shape[1] < last.shape[-1]:
        raise UsageError("this encoder gives no map [channels, height, width] of an image; take a convolutional one")
    return maps, last.shape[1]


def finite(values: Tensor, what: str) -> Tensor:
    """Return the values. Raises FaultError if one is not finite: a score of such a network says nothing of the encoder."""
    if not bool(values.isfinite().all()):
        raise FaultError(
            f"{what} is not finite: the training of the task has diverged; lower its rate=, or take another encoder if it is this one"
        )
    return values


def descend(
    network: nn.Module,
    batch_loss: BatchLoss,
    positions: NDArray[np.int64],
    recipe: DenseTraining,
    name: str,
    least: int,
) -> None:
    """Train all weights of a network on the images at `positions`, in batches of at most half of them, but of `least` images.
    `name` is that of the progress, and of the random numbers that the network draws. FaultError if the training diverges."""
    batch_size = min(recipe.batch_size, max(least, len(positions) // 2))
    sampler = Sampler(len(positions), batch_size, recipe.seed)
    steps = steps_for(recipe.epochs * len(positions), batch_size)
    optimizer = torch.optim.SGD(network.parameters(), lr=recipe.rate, momentum=0.9, weight_decay=recipe.weight_decay)
    for step in range(steps):
        torch.manual_seed(seed_for(recipe.seed, name, step))  # for dropout, and for boxes that are sampled
        places, epochs = sampler.batch(step)
        loss = finite(batch_loss(positions[places], epochs), "the loss")
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), recipe.longest)
        rate = learning_rate(step, steps, peak=recipe.rate, warmup=round(recipe.warmup * steps))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        progress(name, (step + 1) * batch_size, steps * batch_size)
    for weights in network.parameters():
        finite(weights, "a weight")


class DenseNetwork:
    """An FCN on a copy of a model's encoder, trained on images and on values of their pixels."""

    def __init__(self, model: Trained, pixels: Pixels, map_of: MapOf, outputs: int, machine: Machine, seed: int):
        self.pixels, self.map_of, self.machine, self.input_spec = pixels, map_of, machine, model.input_spec
        torch.manual_seed(seed_for(seed, "dense head"))
        self.network = fcn(model.net.encoder, model.input_spec, outputs)

    def fit(self, positions: NDArray[np.int64], recipe: DenseTraining, loss: Loss) -> None:
        """Train all layers on the images at `positions`."""
        network = self.machine.to_device(self.network).train()

        def batch_loss(shown: NDArray[np.int64], epochs: NDArray[np.int64]) -> Tensor:
            images, targets = self._batch(shown, epochs, recipe)
            with self.machine.autocast():
                outputs = network(images)["out"].float()
            return loss(outputs, targets)

        descend(network, batch_loss, positions, recipe, "dense", least=2)

    def _batch(
        self, positions: NDArray[np.int64], epochs: NDArray[np.int64], recipe: DenseTraining
    ) -> tuple[Float[Tensor, "b 3 s s"], Tensor]:
        """Return the images and the values of their pixels as squares, flipped by the seed, the epoch and the position."""
        images, maps = self._squares(positions, recipe.side)
        flip = uniforms((recipe.seed, "flip"), positions + epochs * len(self.pixels), 1)[:, 0] < 0.5
        chosen = torch.from_numpy(flip).to(images.device)
        flipped = torch.where(chosen[:, None, None, None], images.flip(3), images)
        return flipped, torch.where(chosen[:, None, None], maps.flip(2), maps)

    def _squares(self, positions: NDArray[np.int64], side: int) -> tuple[Float[Tensor, "b 3 s s"], Tensor]:
        maps = [torch.from_numpy(self.map_of(int(position)))[None, None] for position in positions]
        small = torch.cat([F.interpolate(one, (side, side), mode="nearest") for one in maps])[:, 0]
        return self._images(positions, side), small.to(self.machine.device)

    def _images(self, positions: NDArray[np.int64], side: int) -> Float[Tensor, "b 3 s s"]:
        packed, rows = self.pixels.read(positions)
        chosen = [torch.from_numpy(np.array(packed[int(row)])).permute(2, 0, 1)[None].float() for row in rows]
        square = torch.cat([F.interpolate(image, (side, side), mode="bilinear", antialias=True) for image in chosen])
        pixels = square.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
        return to_input(pixels, self.input_spec, self.machine)

    @torch.no_grad()
    def outputs(self, position: int, side: int) -> Float[Tensor, "c h w"]:
        """Return the outputs for an image, at the size of its map."""
        with self.machine.autocast():
            outputs: Tensor = self.network.eval()(self._images(np.array([position]), side))["out"]
        return F.interpolate(finite(outputs, "an output").float().cpu(), self.map_of(position).shape, mode="bilinear")[
            0
        ]
