"""Measures of single pictures that find odd ones: dark, nearly blank, blurred."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

LUMA = np.array([0.299, 0.587, 0.114])
DARK = 40.0  # mean brightness of 255, below which a picture is dark
BLANK = 6.0  # standard deviation of the brightness, below which a picture is nearly blank
BLURRED = 0.01  # sharpness below which a picture is blurred


class Measures(NamedTuple):
    """The mean brightness and its standard deviation, of 255, and the sharpness of a picture.

    The sharpness is the variance of the Laplacian over the variance of the brightness (after Pech-Pacheco et al. 2000), so that
    a picture with little contrast does not count as blurred.
    """

    brightness: float
    contrast: float
    sharpness: float


class Oddity(NamedTuple):
    """A way to be odd: a title, the measure, the bound, and a note in words."""

    title: str
    is_odd: Callable[[Measures], bool]
    order: Callable[[Measures], float]
    note: Callable[[Measures], str]


ODDITIES = (
    Oddity("Dark", lambda m: m.brightness < DARK, lambda m: m.brightness, lambda m: f"brightness {m.brightness:.0f} of 255"),
    Oddity("Nearly blank", lambda m: m.contrast < BLANK, lambda m: m.contrast, lambda m: f"contrast {m.contrast:.1f} of 255"),
    Oddity(
        "Blurred",
        lambda m: m.sharpness < BLURRED and m.contrast >= BLANK,
        lambda m: m.sharpness,
        lambda m: f"sharpness {m.sharpness:.4f}",
    ),
)  # fmt: skip


def measure(picture: UInt8[np.ndarray, "h w 3"]) -> Measures:
    """Return the measures of a picture of any size; sharpness is comparable among pictures of about one size."""
    gray: Float[np.ndarray, "h w"] = picture @ LUMA
    contrast = float(gray.std())
    if min(gray.shape) < 3:
        return Measures(float(gray.mean()), contrast, 1.0)
    inner = gray[1:-1, 1:-1]
    laplacian = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * inner
    return Measures(float(gray.mean()), contrast, float(laplacian.var() / max(contrast**2, 1e-9)))


def odd_ones(measured: Iterable[Measures], oddity: Oddity) -> list[int]:
    """Return the places of the pictures that are odd in this way, the oddest first."""
    values = list(measured)
    return sorted((i for i, value in enumerate(values) if oddity.is_odd(value)), key=lambda i: oddity.order(values[i]))
