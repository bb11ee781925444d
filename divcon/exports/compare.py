"""The comparison of an export with the encoder that it was made of."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ..nets.trained import Trained
from .contract import Encode, Format

WHITENED = 10  # times the tolerance of a format: whitening enlarges the directions of small features, and their rounding errors
BATCHES = (5, 1)  # images: both a batch and a single image have to work


def made_pictures(size: int) -> UInt8[Tensor, "5 3 size size"]:
    """Return random colors on grids from coarse to fine: pictures that an encoder tells apart, the same each time."""
    generator = torch.Generator().manual_seed(0)
    grids = [torch.rand(1, 3, side, side, generator=generator) for side in (2, 3, 5, 9, size)]
    smooth = [F.interpolate(grid, (size, size), mode="bilinear", align_corners=False) for grid in grids]
    return (torch.cat(smooth) * 255).round().to(torch.uint8)


def normalize(
    pixels: UInt8[Tensor, "n 3 s s"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "n 3 s s"]:
    """Return pixels (0..255) minus the mean over the standard deviation (0..1), as in training."""
    center, scale = (torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) * 255 for values in (mean, std))
    return (pixels.float() - center) / scale


def tolerance_of(format: Format, model: Trained) -> float:
    """Return the largest difference that an export of the model may have."""
    return format.tolerance * (1 if model.whitening is None else WHITENED)


@torch.no_grad()
def largest_difference(model: Trained, encode: Encode) -> float:
    """Return the largest difference between the features of the model, whitened if it has a whitening, and those of its
    export, on batches of 5 and of 1."""
    spec, pixels = model.input_spec, made_pictures(model.input_spec.size)
    encoder = model.net.encoder.cpu().eval()
    ours = encoder(normalize(pixels, spec.mean, spec.std))
    if model.whitening is not None:
        ours = model.whitening(ours)
    return max(difference(ours[:n], encode(pixels[:n])) for n in BATCHES)


def difference(ours: Float[Tensor, "n d"], theirs: Float[Tensor, "n d"]) -> float:
    """Return the largest absolute difference over the largest absolute feature; infinity if the shapes differ or a number is
    not finite."""
    if ours.shape != theirs.shape or not (ours.isfinite().all() and theirs.isfinite().all()):
        return float("inf")
    largest = float((ours - theirs).abs().max())
    return largest / float(ours.abs().max()) if largest else 0.0
