"""A synthetic collection with known classes: ten kinds of image in four groups, many of some and few of others.

Position, size, angle, hue and noise are independent of the kind.
"""

import colorsys
import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator
from PIL import Image

from ..rng import seed_for

Plane = Float[np.ndarray, "h w"]
Colors = Float[np.ndarray, "h w 3"]
Color = Float[np.ndarray, "3"]
# Draws an image from a generator, the coordinates x and y (-1 to 1 along the short side) and the width of a soft edge.
Drawing = Callable[[Generator, Plane, Plane, float], Colors]


def make_collection(folder: Path, n: int = 600, seed: int = 0, size: int = 48) -> Path:
    """Write n images with a short side of `size` pixels into a folder for each kind, and return the folder.

    Image i of a kind depends on `seed` and `size` alone."""
    for (kind, draw), count in zip(KINDS.items(), class_sizes(n, len(KINDS))):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng(seed_for(seed, "made", kind, number))
            _write(folder / kind / f"{number:05}", draw_image(draw, rng, size), jpeg=number % 2 == 1)
    return folder


def class_sizes(n: int, classes: int) -> list[int]:
    """Share n among classes as 1, 1/2, 1/3, ...: heavy-tailed, like uncurated collections."""
    ends = np.cumsum(1 / np.arange(1, classes + 1))
    return [int(count) for count in np.diff(np.round(n * ends / ends[-1]), prepend=0)]


def draw_image(draw: Drawing, rng: Generator, size: int) -> UInt8[np.ndarray, "h w 3"]:
    height, width = rng.permutation([size, size + int(rng.integers(size // 4 + 1))])
    y, x = (np.mgrid[:height, :width] + 0.5 - np.array([height, width])[:, None, None] / 2) / (size / 2)
    drawn = draw(rng, x, y, 3 / size) + rng.normal(0, rng.uniform(0.01, 0.06), (height, width, 3))
    pixels: UInt8[np.ndarray, "h w 3"] = np.round(255 * np.clip(drawn, 0, 1)).astype(np.uint8)
    return pixels


def _write(stem: Path, pixels: UInt8[np.ndarray, "h w 3"], *, jpeg: bool) -> None:
    encoded = io.BytesIO()
    if jpeg:
        Image.fromarray(pixels).save(encoded, "JPEG", quality=92)
    else:
        Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
    stem.with_suffix(".jpg" if jpeg else ".png").write_bytes(encoded.getvalue())


def _color(hue: float, saturation: float, value: float) -> Color:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _ink(distance: Plane, edge: float) -> Plane:
    """Return 1 inside (distance below 0), 0 outside, and a soft edge between."""
    ink: Plane = np.clip(0.5 - distance / edge, 0, 1)
    return ink


def _blend(ink: Plane, color: Color, background: Color | Colors) -> Colors:
    blended: Colors = background + ink[:, :, None] * (color - background)
    return blended


def _moved(rng: Generator, x: Plane, y: Plane, turn: float) -> tuple[Plane, Plane]:
    """Return the coordinates of a figure that is moved, turned by up to `turn`, and scaled to 0.4 to 0.8."""
    (dx, dy), angle, scale = rng.uniform(-0.3, 0.3, 2), rng.uniform(-turn, turn), rng.uniform(0.4, 0.8)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    return cos * (x - dx) + sin * (y - dy), cos * (y - dy) - sin * (x - dx)


def _disc(x: Plane, y: Plane) -> Plane:
    outside: Plane = np.hypot(x, y) - 0.9
    return outside


def _square(x: Plane, y: Plane) -> Plane:
    outside: Plane = np.maximum(np.abs(x), np.abs(y)) - 0.8
    return outside


def _triangle(x: Plane, y: Plane) -> Plane:
    outside: Plane = np.maximum(np.abs(x) * 0.87 + y * 0.5, -y) - 0.5
    return outside


def shape(inside: Callable[[Plane, Plane], Plane]) -> Drawing:
    """A bright figure on a plain background of another hue."""

    def draw(rng: Generator, x: Plane, y: Plane, edge: float) -> Colors:
        hue = rng.random()
        background = _color(hue + rng.uniform(0.3, 0.7), 0.35, rng.uniform(0.75, 0.95))
        ink = _ink(inside(*_moved(rng, x, y, np.pi)), edge)
        return _blend(ink, _color(hue, 0.9, rng.uniform(0.5, 0.9)), np.broadcast_to(background, (*x.shape, 3)))

    return draw


def texture(wave: Callable[[Plane, Plane], Plane]) -> Drawing:
    """A dull pattern over the whole image."""

    def draw(rng: Generator, x: Plane, y: Plane, edge: float) -> Colors:
        u, v = _moved(rng, x, y, 0.3)
        frequency, hue = rng.uniform(4, 7), rng.uniform(0.02, 0.18)
        ink = 0.5 + 0.5 * wave(frequency * u, frequency * v)
        return _blend(ink, _color(hue, 0.5, rng.uniform(0.5, 0.8)), _color(hue + 0.05, 0.6, rng.uniform(0.15, 0.35)))

    return draw


def strokes(*points: tuple[float, float]) -> Drawing:
    """A sign of dark lines with random corners, on paper."""

    def draw(rng: Generator, x: Plane, y: Plane, edge: float) -> Colors:
        u, v = _moved(rng, x, y, 0.3)
        corners = np.array(points) + rng.normal(0, 0.07, (len(points), 2))
        line = np.min([_segment(u, v, a, b) for a, b in itertools.pairwise(corners)], axis=0)
        ink = _ink(line - rng.uniform(0.1, 0.2), 2 * edge)
        return _blend(ink, _color(rng.random(), 0.6, 0.25), _color(0.12, rng.uniform(0, 0.12), 0.95))

    return draw


def _segment(x: Plane, y: Plane, a: Float[np.ndarray, "2"], b: Float[np.ndarray, "2"]) -> Plane:
    """Return the distance to the line from a to b."""
    dx, dy = b - a
    along = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    distance: Plane = np.hypot(x - a[0] - along * dx, y - a[1] - along * dy)
    return distance


def sky(lights: int) -> Drawing:
    """A dark sky with soft lights in it."""

    def draw(rng: Generator, x: Plane, y: Plane, edge: float) -> Colors:
        hue, first = rng.uniform(0.5, 0.8), rng.uniform(0, 2 * np.pi)
        dark, light = _color(hue, 0.8, 0.15), _color(hue + 0.08, 0.6, rng.uniform(0.4, 0.7))
        drawn = _blend(np.clip(0.5 + 0.4 * y, 0, 1), light, np.broadcast_to(dark, (*x.shape, 3)))
        for angle in first + 2 * np.pi * np.arange(lights) / lights + rng.uniform(-0.3, 0.3, lights):
            away = np.hypot(x - 0.6 * np.cos(angle), y - 0.6 * np.sin(angle)) / rng.uniform(0.15, 0.3)
            drawn = _blend(np.exp(-(away**2)), _color(rng.uniform(0.08, 0.18), 0.3, 1.0), drawn)
        return drawn

    return draw


# In order of frequency; the groups are mixed.
KINDS: dict[str, Drawing] = {
    "disc": shape(_disc),
    "stripes": texture(lambda u, v: np.sin(2 * v)),
    "seven": strokes((-0.6, -0.8), (0.6, -0.8), (-0.2, 0.9)),
    "one-light": sky(1),
    "square": shape(_square),
    "checks": texture(lambda u, v: np.tanh(4 * np.sin(u) * np.sin(v))),
    "zigzag": strokes((-0.7, -0.8), (0.7, -0.3), (-0.7, 0.3), (0.7, 0.8)),
    "three-lights": sky(3),
    "triangle": shape(_triangle),
    "dots": texture(lambda u, v: 2 * np.exp(-2 * (np.sin(u / 2) ** 2 + np.sin(v / 2) ** 2)) - 1),
}
