"""From pixels to features."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from .. import dist, signals
from ..data.pixels.pixels import Pixels
from ..data.views.presets import center
from ..data.views.render import views_of
from ..data.views.view import View
from ..log import progress
from ..machine import Machine
from ..nets.net import Layer, Net
from ..nets.trained import InputSpec

CHUNK = 512  # images per batch: `encode` needs no more memory than their pixels and activations


def to_input(pixels: UInt8[np.ndarray, "b h w 3"], input_spec: InputSpec, machine: Machine) -> Float[Tensor, "b 3 h w"]:
    """Return pixels as a network takes them: normalized, on the machine's device and in its memory format."""
    return normalized(pixels, input_spec, machine.device).contiguous(memory_format=machine.memory_format)


def normalized(
    pixels: UInt8[np.ndarray, "b h w 3"], input_spec: InputSpec, device: str = "cpu"
) -> Float[Tensor, "b 3 h w"]:
    """Return pixels (0..255) minus the mean over the standard deviation of the input specification (0..1).

    The CPU does not wait until pixels in pinned memory are on the device.
    """
    x = torch.from_numpy(pixels).to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    mean, std = (_per_channel(values, device) for values in (input_spec.mean, input_spec.std))
    return (x - mean) / std


@functools.cache
def _per_channel(values: tuple[float, float, float], device: str) -> Float[Tensor, "1 3 1 1"]:
    """The values times 255, on the device. They stay there: to send them again would make the CPU wait for the device."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1) * 255


@torch.no_grad()
def encode(
    net: Net,
    input_spec: InputSpec,
    pixels: Pixels,
    machine: Machine,
    *,
    layer: Layer = "pool",
    positions: NDArray[np.int64] | None = None,
    view: View | None = None,
    purpose: tuple[int | str, ...] = (),
) -> Float[Tensor, "n d"]:
    """Return the features of all images, or of the images at `positions`, in order, in float32 on the CPU.

    `layer` is the layer of the net that gives the features. `view` is the view to encode, by default the center view;
    its random numbers are a function of `purpose` and of the position. The net keeps its training mode. All ranks call this
    together: each encodes some of the chunks, and gets the features of all. A chunk has the same bits on any number of ranks.
    """
    positions = np.arange(len(pixels)) if positions is None else positions
    was_training = net.training
    machine.to_device(net).eval()
    begins = range(0, len(positions), CHUNK)
    parts = []
    for turn in range(0, len(begins), dist.world_size()):
        _stop_together()
        if turn + dist.rank() >= len(begins):
            break
        begin = begins[turn + dist.rank()]
        chunk = positions[begin : begin + CHUNK]
        views = views_of(view or center(input_spec.size), *pixels.read(chunk), purpose, chunk, machine.workers)
        with machine.autocast():
            parts.append(net(to_input(views, input_spec, machine), layer).float().cpu())
        progress("encoding", begin + len(chunk), len(positions))
    net.train(was_training)
    return _of_all_ranks(parts, len(positions))


def _stop_together() -> None:
    """Stop on every rank if a stop signal came to one: else the others would wait for its features."""
    (stop,) = dist.any_rank(signals.stop_requested())
    if stop:
        signals.stop("this stage will begin again")


def _of_all_ranks(parts: Sequence[Float[Tensor, "b d"]], n: int) -> Float[Tensor, "n d"]:
    """Return the features of all chunks, in order, where each rank has every world_size-th chunk."""
    world = dist.world_size()
    if world == 1:
        return torch.cat(list(parts))
    chunks = [range(begin, min(begin + CHUNK, n)) for begin in range(0, n, CHUNK)]
    sizes = [sum(len(chunk) for chunk in chunks[rank::world]) for rank in range(world)]
    width = int(dist.all_max(torch.tensor(float(parts[0].shape[1]) if parts else 0.0)))
    gathered = dist.gather_rows(torch.cat(list(parts)) if parts else torch.zeros(0, width), sizes)
    features = torch.empty(n, width)
    for rank, rows in enumerate(torch.split(gathered, sizes)):
        for chunk, part in zip(chunks[rank::world], torch.split(rows, CHUNK)):
            features[chunk.start : chunk.stop] = part
    return features
