"""A view: the ranges of its random crop, flip, colors, blur and solarization."""

import math
from dataclasses import dataclass
from typing import Literal

from ...errors import UsageError

Style = Literal["byol", "torchvision"]


@dataclass(frozen=True)
class View:
    """A random transformation of an image to size x size pixels: its steps, their ranges and their probabilities.

    `sigma` is for a view of 224 pixels and shrinks with the view, like the 23 taps of the blur. `style` names the
    arithmetic of the colors: BYOL's (brightness is added, contrast is about the mean of each channel, saturation is
    that of HSV) or torchvision's. A `center` view has no random step and uses `size` alone.
    """

    size: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    gray: float = 0.2
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    style: Style = "byol"
    center: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"size is {self.size}; a view has at least one pixel")
        for name in ("flip", "jitter", "gray", "blur", "solarize", "brightness", "contrast", "saturation"):
            _check_range(name, 0, getattr(self, name), 1)
        _check_range("hue", 0, self.hue, 0.5)
        for name, least, most in (("area", 1e-9, 1), ("aspect", 1e-9, math.inf), ("sigma", 0, math.inf)):
            low, high = getattr(self, name)
            _check_range(f"{name}'s lower end", least, low, high)
            _check_range(f"{name}'s upper end", low, high, most)


def _check_range(name: str, least: float, value: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name} of a view is {value}; it has to be from {least:g} to {most:g}")
