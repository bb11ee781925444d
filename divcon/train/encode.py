"""From pixels to what a network sees of them."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from .. import signals
from ..data.pixels.pixels import Pixels
from ..data.views.presets import center
from ..data.views.render import views_of
from ..data.views.view import View
from ..log import progress
from ..machine import Machine
from ..nets.net import Layer, Net
from ..nets.trained import InputSpec

CHUNK = 512  # images at a time: its pixels and activations are all the memory that looking takes


def to_input(pixels: UInt8[np.ndarray, "b h w 3"], input_spec: InputSpec, machine: Machine) -> Float[Tensor, "b 3 h w"]:
    """Pixels as a network takes them: normalized, in the machine's layout."""
    return normalized(pixels, input_spec, machine.device).contiguous(memory_format=machine.memory_format)


def normalized(
    pixels: UInt8[np.ndarray, "b h w 3"], input_spec: InputSpec, device: str = "cpu"
) -> Float[Tensor, "b 3 h w"]:
    x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float()
    mean, std = (
        torch.tensor(c, dtype=x.dtype, device=x.device).view(1, 3, 1, 1) * 255
        for c in (input_spec.mean, input_spec.std)
    )
    return (x - mean) / std


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
    """What the net sees of the pictures, or of those at some positions, in order: on the CPU, in float32, by default on
    the center view. `purpose` is what the view's random numbers are for."""
    positions = np.arange(len(pixels)) if positions is None else positions
    was_training = net.training
    machine.to_device(net).eval()
    parts = []
    for begin in range(0, len(positions), CHUNK):
        signals.stop_if_requested("this stage will begin again")
        here = positions[begin : begin + CHUNK]
        seen = views_of(view or center(input_spec.size), *pixels.read(here), purpose, here, machine.workers)
        with machine.autocast():
            parts.append(net(to_input(seen, input_spec, machine), layer).float().cpu())
        progress("looking", begin + len(here), len(positions))
    net.train(was_training)
    return torch.cat(parts)
