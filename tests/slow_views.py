"""Slow views: one image at a time in float64, from the definitions. The kernel is compared with them."""

import colorsys
import math

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from divcon.data.views.draw import Draws
from divcon.data.views.view import Style

Image = Float[np.ndarray, "h w 3"]
LUMA = np.array([0.2989, 0.5870, 0.1140])


def slow_view(picture: UInt8[np.ndarray, "h w 3"], draws: Draws, i: int, size: int) -> Image:
    """Return the view of an image by the i-th draw: values in 0..255, not rounded."""
    image = slow_crop(picture, tuple(draws.box[i]), size).clip(0, 1)
    image = image[:, ::-1] if draws.flip[i] else image
    if draws.jitter[i]:
        for step in draws.order[i]:
            image = slow_step(image, int(step), float(draws.factors[i, step]), draws.style).clip(0, 1)
    image = gray(image) if draws.gray[i] else image
    image = slow_blur(image, float(draws.sigma[i]), draws.style) if draws.sigma[i] else image
    image = np.where(image < 0.5, image, 1 - image) if draws.solarize[i] else image
    return 255 * image


def slow_crop(picture: UInt8[np.ndarray, "h w 3"], box: tuple[float, ...], size: int) -> Image:
    """Give every pixel of the image a weight for every pixel of the crop; most weights are 0."""
    top, left, tall, wide = box
    rows, columns = slow_weights(top, tall, picture.shape[0], size), slow_weights(left, wide, picture.shape[1], size)
    return np.einsum("ik,klc,jl->ijc", rows, picture / 255, columns)


def slow_weights(start: float, extent: float, length: int, size: int) -> Float[np.ndarray, "size length"]:
    stretch = max(1.0, extent / size)
    weights = np.zeros((size, length))
    for o in range(size):
        middle = start + (o + 0.5) * extent / size
        for x in range(length):
            weights[o, x] = keys((x + 0.5 - middle) / stretch)
    return weights / weights.sum(1, keepdims=True)


def keys(x: float, a: float = -0.5) -> float:
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def gray(image: Image) -> Image:
    return np.repeat((image @ LUMA)[..., None], 3, axis=2)


def slow_step(image: Image, step: int, factor: float, style: Style) -> Image:
    if step == 0:
        return image + factor if style == "byol" else image * factor
    if step == 1:
        mean = image.mean((0, 1)) if style == "byol" else gray(image).mean()
        return factor * image + (1 - factor) * mean
    if step == 2 and style == "torchvision":
        return factor * image + (1 - factor) * gray(image)
    return np.array([[in_hsv(pixel, step, factor) for pixel in row] for row in image])


def in_hsv(pixel: NDArray[np.float64], step: int, factor: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(*pixel)
    return colorsys.hsv_to_rgb(h, min(1.0, s * factor), v) if step == 2 else colorsys.hsv_to_rgb((h + factor) % 1, s, v)


def slow_blur(image: Image, sigma: float, style: Style) -> Image:
    """Apply all weights of the square at once, over a margin of black (BYOL) or of the mirrored image (torchvision)."""
    size = len(image)
    odd = range(3, size + 24, 2)
    radius = min(odd, key=lambda n: abs(n - 23 * size / 224)) // 2
    margin = [(radius, radius), (radius, radius), (0, 0)]
    around = np.pad(image, margin) if style == "byol" else np.pad(image, margin, mode="reflect")
    total, weights = np.zeros_like(image), 0.0
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            w = math.exp(-(dy**2 + dx**2) / (2 * sigma**2))
            total += w * around[radius + dy : radius + dy + size, radius + dx : radius + dx + size]
            weights += w
    return total / weights
