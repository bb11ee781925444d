"""From pixels to what a network sees of them."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from .. import signals
from ..data.pixels import Pixels
from ..data.views import View, centre, views_of
from ..log import tick
from ..machine import Machine
from ..nets.net import Net, Place
from ..nets.trained import Sight

CHUNK = 512  # images at a time: its pixels and activations are all the memory that looking takes


def as_input(pixels: UInt8[np.ndarray, "b h w 3"], sight: Sight, machine: Machine) -> Float[Tensor, "b 3 h w"]:
    """Pixels as a network takes them: normalised, in the machine's layout."""
    return normalised(pixels, sight, machine.device).contiguous(memory_format=machine.layout)


def normalised(pixels: UInt8[np.ndarray, "b h w 3"], sight: Sight, device: str = "cpu") -> Float[Tensor, "b 3 h w"]:
    x = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float()
    mean, std = (
        torch.tensor(c, dtype=x.dtype, device=x.device).view(1, 3, 1, 1) * 255 for c in (sight.mean, sight.std)
    )
    return (x - mean) / std


@torch.no_grad()
def encode(
    net: Net, sight: Sight, pixels: Pixels, machine: Machine, *,
    place: Place = "pool", positions: NDArray[np.int64] | None = None,
    view: View | None = None, purpose: tuple[int | str, ...] = (),
) -> Float[Tensor, "n d"]:  # fmt: skip
    """What the net sees of the pictures, or of those at some positions, in order: on the CPU, in float32, by default on
    the centre view. `purpose` is what the view's random numbers are for."""
    positions = np.arange(len(pixels)) if positions is None else positions
    was_training = net.training
    machine.put(net).eval()
    parts = []
    for begin in range(0, len(positions), CHUNK):
        signals.stop_here("this stage will begin again")
        here = positions[begin : begin + CHUNK]
        seen = views_of(view or centre(sight.size), *pixels.at(here), purpose, here, machine.readers)
        with machine.autocast():
            parts.append(net(as_input(seen, sight, machine), place).float().cpu())
        tick("looking", begin + len(here), len(positions))
    net.train(was_training)
    return torch.cat(parts)
