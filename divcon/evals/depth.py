"""The loss and the measures of depths (Laina et al. 2016, https://arxiv.org/abs/1606.00373). A true depth of 0 is not known."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SMALL = 0.2  # of the largest error: the absolute error counts below, the squared one above
LEAST = 1e-3  # meters
RATIOS = {f"within a factor of {1.25**power:.4g}": 1.25**power for power in (1, 2, 3)}

Depth = Float[np.ndarray, "h w"]


def reverse_huber(told: Float[Tensor, "b h w"], true: Float[Tensor, "b h w"]) -> Tensor:
    """Return the mean over known pixels of |e|, or of (e^2 + c^2) / 2c where |e| > c, a fifth of the largest error."""
    known = true > 0
    error = (told - true).abs() * known
    c = (SMALL * error.detach().max()).clamp(min=1e-6)
    loss = torch.where(error <= c, error, (error.square() + c * c) / (2 * c)) * known
    return loss.sum() / known.sum().clamp(min=1)


def depth_measures(told: Sequence[Depth], true: Sequence[Depth]) -> dict[str, float]:
    """Return, over all known pixels, the shares within three factors of the truth, the mean error as a share of the true depth
    ("relative error"), and the root of the mean squared error ("rms in meters")."""
    known = [depth > 0 for depth in true]
    t = np.concatenate([depth[mask] for depth, mask in zip(true, known)]).astype(np.float64)
    p = np.concatenate([depth[mask] for depth, mask in zip(told, known)]).astype(np.float64).clip(LEAST)
    ratio = np.maximum(p / t, t / p)
    shares = {name: float((ratio < most).mean()) for name, most in RATIOS.items()}
    return {
        **shares, "relative error": float((np.abs(p - t) / t).mean()), "rms in meters": float(np.sqrt(np.square(p - t).mean()))
    }  # fmt: skip
