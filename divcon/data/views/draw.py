"""The random parameters of a view, for each image of a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from numpy.typing import NDArray

from ...rng import Index, uniforms
from .view import Style, View

TRIES = 10
ORDERS = np.array(list(permutations(range(4))), np.uint8)
CENTER_SHARE = 0.875  # of the short side: 224 of 256


@dataclass(frozen=True)
class Draws:
    """The random parameters of one view, for a batch of images."""

    box: Float64[np.ndarray, "b 4"]  # top, left, height, width, in pixels of the image
    flip: Bool[np.ndarray, "b"]
    jitter: Bool[np.ndarray, "b"]
    order: UInt8[np.ndarray, "b 4"]  # of brightness 0, contrast 1, saturation 2, hue 3
    factors: Float32[np.ndarray, "b 4"]  # in the same order; those of brightness and hue may be added
    gray: Bool[np.ndarray, "b"]
    sigma: Float32[np.ndarray, "b"]  # in pixels of the view; 0 is no blur
    solarize: Bool[np.ndarray, "b"]
    style: Style

    def __len__(self) -> int:
        return len(self.box)

    def __getitem__(self, part: slice) -> "Draws":
        arrays = {name: value[part] for name, value in vars(self).items() if name != "style"}
        return replace(self, **arrays)


def draw(
    view: View, purpose: Sequence[int | str], index: Index, heights: NDArray[np.integer], widths: NDArray[np.integer]
) -> Draws:
    """Draw the parameters of one view for the images of these indices, heights and widths.

    An image gets the same parameters in every batch: they depend on `purpose` and its index alone."""
    if view.center:
        return _center(view, heights, widths)
    u = uniforms(purpose, index, 2 * TRIES + 13)
    box, u = _boxes(view, u[:, : 2 * TRIES + 2], heights, widths), u[:, 2 * TRIES + 2 :]
    sigma = _between(view.sigma, u[:, 9]) * view.size / 224
    return Draws(
        box=box,
        flip=u[:, 0] < view.flip,
        jitter=u[:, 1] < view.jitter,
        order=ORDERS[(u[:, 2] * len(ORDERS)).astype(np.intp)],
        factors=_factors(view, u[:, 3:7]),
        gray=u[:, 7] < view.gray,
        sigma=np.where(u[:, 8] < view.blur, sigma, 0).astype(np.float32),
        solarize=u[:, 10] < view.solarize,
        style=view.style,
    )


def _between(ends: tuple[float, float], u: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = ends
    return low + (high - low) * u


def _factors(view: View, u: Float64[np.ndarray, "b 4"]) -> Float32[np.ndarray, "b 4"]:
    """Return factors around 1, and around 0 where they are added: to brightness in BYOL's style, to hue in both."""
    reach = np.array([view.brightness, view.contrast, view.saturation, view.hue])
    about = np.array([0 if view.style == "byol" else 1, 1, 1, 0])
    factors: NDArray[np.float32] = (about + reach * (2 * u - 1)).astype(np.float32)
    return factors


def _boxes(
    view: View, u: Float64[np.ndarray, "b lanes"], heights: NDArray[np.integer], widths: NDArray[np.integer]
) -> Float64[np.ndarray, "b 4"]:
    """Draw the box of RandomResizedCrop: the first of ten that fits the image, else the largest one in the middle."""
    h, w = heights[:, None].astype(np.float64), widths[:, None].astype(np.float64)
    area = h * w * _between(view.area, u[:, :TRIES])
    aspect = np.exp(_between((math.log(view.aspect[0]), math.log(view.aspect[1])), u[:, TRIES : 2 * TRIES]))
    tall, wide = np.rint(np.sqrt(area / aspect)), np.rint(np.sqrt(area * aspect))
    fits = (tall > 0) & (tall <= h) & (wide > 0) & (wide <= w)
    first = fits.argmax(1)[:, None]
    size = np.hstack([np.take_along_axis(tall, first, 1), np.take_along_axis(wide, first, 1)])
    margin = np.hstack([h, w]) - size
    drawn = np.hstack([np.floor(u[:, 2 * TRIES :] * (margin + 1)), size])
    return np.where(fits.any(1, keepdims=True), drawn, _middle(view.aspect, h, w))


def _middle(aspect: tuple[float, float], h: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest box with an allowed aspect ratio, in the middle."""
    tall, wide = np.minimum(h, np.rint(w / aspect[0])), np.minimum(w, np.rint(h * aspect[1]))
    return np.hstack([(h - tall) // 2, (w - wide) // 2, tall, wide])


def _center(view: View, heights: NDArray[np.integer], widths: NDArray[np.integer]) -> Draws:
    side = CENTER_SHARE * np.minimum(heights, widths)
    box = np.stack([(heights - side) / 2, (widths - side) / 2, side, side], 1)
    n, no = len(box), np.zeros(len(box), bool)
    order, factors = np.zeros((n, 4), np.uint8), np.zeros((n, 4), np.float32)
    return Draws(box, no, no, order, factors, no, np.zeros(n, np.float32), no, view.style)
