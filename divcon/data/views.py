"""Views: ways to look at an image, what is drawn for one batch of them, and their pixels."""

import functools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from numpy.typing import NDArray

from ..errors import UsageError
from ..rng import Index, uniforms
from .ragged import Ragged

Style = Literal["byol", "torchvision"]

TRIES = 10
ORDERS = np.array(list(permutations(range(4))), np.uint8)
CENTRE_SHARE = 0.875  # 224 of 256
FEWEST = 16  # views that are worth a thread's while


@dataclass(frozen=True)
class View:
    """One way to look at an image: what may happen to it, how far and how often, until it is size x size pixels.

    `sigma` is for a view of 224 pixels and shrinks with the view, as the blur's 23 taps do. The style says whose
    arithmetic the colours get: BYOL's (brightness is added, contrast is about each channel's mean, saturation is that
    of HSV) or torchvision's. A `centre` view leaves nothing to chance and uses `size` alone.
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
    grey: float = 0.2
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize: float = 0.0
    style: Style = "byol"
    centre: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"size is {self.size}; a view has at least one pixel")
        for name in ("flip", "jitter", "grey", "blur", "solarize", "brightness", "contrast", "saturation"):
            _check_range(name, 0, getattr(self, name), 1)
        _check_range("hue", 0, self.hue, 0.5)
        for name, least, most in (("area", 1e-9, 1), ("aspect", 1e-9, math.inf), ("sigma", 0, math.inf)):
            low, high = getattr(self, name)
            _check_range(f"{name}'s lower end", least, low, high)
            _check_range(f"{name}'s upper end", low, high, most)


def _check_range(name: str, least: float, value: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name} of a view is {value}; it has to be from {least:g} to {most:g}")


def byol(size: int) -> tuple[View, View]:
    """BYOL's T and T', which DnC uses (Table 12): one always blurred; the other seldom, but at times solarized."""
    return View(size, blur=1.0), View(size, blur=0.1, solarize=0.2)


def mild(size: int) -> tuple[View, View]:
    """For small images: both views alike, from three tenths of the image on, half of BYOL's colours, and sharp under 64
    pixels (LOG.md, 2026-11-22)."""
    view = View(
        size, area=(0.3, 1.0), brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05, blur=0.5 if size >= 64 else 0.0
    )
    return view, view


def simclr(size: int) -> tuple[View, View]:
    """SimCLR's strong colours, and half of the views blurred."""
    strong = View(size, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5, style="torchvision")
    return strong, strong


def plain(view: View) -> View:
    """A view of the same size that is no more than a crop, of half of the image at least, flipped or not: for methods that
    learn from where things are, or from their own pixels."""
    return View(view.size, area=(0.5, 1.0), flip=view.flip, jitter=0.0, grey=0.0, style=view.style)


def moco(size: int) -> tuple[View, View]:
    """MoCo v2's: BYOL's colours with more saturation, in torchvision's arithmetic, from a fifth of the image on."""
    view = View(size, area=(0.2, 1.0), saturation=0.4, blur=0.5, style="torchvision")
    return view, view


def moco_v3(size: int) -> tuple[View, View]:
    """BYOL's, from a fifth of the image on."""
    one, other = byol(size)
    return replace(one, area=(0.2, 1.0)), replace(other, area=(0.2, 1.0))


def npid(size: int) -> tuple[View, View]:
    """Instance recognition's and Local Aggregation's: colours always moved, hue far, and never a blur."""
    view = View(size, area=(0.2, 1.0), jitter=1.0, saturation=0.4, hue=0.4, style="torchvision")
    return view, view


def centre(size: int) -> View:
    """The view to judge by: the short side to 256/224 of the size, then the square in the middle."""
    return View(size, centre=True)


def swav(size: int) -> tuple[View, View]:
    """SimCLR's, from a seventh of the image on: what is less is left to small views."""
    strong = replace(simclr(size)[0], area=(0.14, 1.0))
    return strong, strong


def small_crops(view: View, crops: int, share: float) -> tuple[View, ...]:
    """Views that are `share` as wide, of what the large one leaves out: from a third of the least that it shows, about, to
    that least (0.05 to 0.14 in SwAV)."""
    least = view.area[0]
    small = replace(view, size=max(8, round(view.size * share)), area=(least * 0.05 / 0.14, least))
    return (small,) * crops


def crop(size: int) -> tuple[View, View]:
    """Cut out and mirrored, and otherwise as it is, twice."""
    view = replace(plain(View(size)), area=(0.08, 1.0))
    return view, view


PRESETS: dict[str, Callable[[int], tuple[View, View]]] = {
    "byol": byol, "mild": mild, "simclr": simclr, "swav": swav, "crop": crop,
    "moco": moco, "moco_v3": moco_v3, "npid": npid,
}  # fmt: skip


@dataclass(frozen=True)
class Draws:
    """All that chance decides for a batch of one view."""

    box: Float64[np.ndarray, "b 4"]  # top, left, height, width, in the picture's pixels
    flip: Bool[np.ndarray, "b"]
    jitter: Bool[np.ndarray, "b"]
    order: UInt8[np.ndarray, "b 4"]  # of brightness 0, contrast 1, saturation 2, hue 3
    factors: Float32[np.ndarray, "b 4"]  # of the same, in that order; the first and last may be what is added
    grey: Bool[np.ndarray, "b"]
    sigma: Float32[np.ndarray, "b"]  # in the view's pixels; 0 leaves it sharp
    solarize: Bool[np.ndarray, "b"]
    style: Style

    def __len__(self) -> int:
        return len(self.box)

    def __getitem__(self, part: slice) -> "Draws":
        arrays = {name: value[part] for name, value in vars(self).items() if name != "style"}
        return replace(self, **arrays)


def draw(
    view: View,
    purpose: Sequence[int | str],
    index: Index,
    heights: NDArray[np.integer],
    widths: NDArray[np.integer],
) -> Draws:
    """What happens to the images of these indices and sizes: to each the same in any batch."""
    if view.centre:
        return _centred(view, heights, widths)
    u = uniforms(purpose, index, 2 * TRIES + 13)
    box, u = _boxes(view, u[:, : 2 * TRIES + 2], heights, widths), u[:, 2 * TRIES + 2 :]
    sigma = _between(view.sigma, u[:, 9]) * view.size / 224
    return Draws(
        box=box,
        flip=u[:, 0] < view.flip,
        jitter=u[:, 1] < view.jitter,
        order=ORDERS[(u[:, 2] * len(ORDERS)).astype(np.intp)],
        factors=_factors(view, u[:, 3:7]),
        grey=u[:, 7] < view.grey,
        sigma=np.where(u[:, 8] < view.blur, sigma, 0).astype(np.float32),
        solarize=u[:, 10] < view.solarize,
        style=view.style,
    )


def _between(ends: tuple[float, float], u: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = ends
    return low + (high - low) * u


def _factors(view: View, u: Float64[np.ndarray, "b 4"]) -> Float32[np.ndarray, "b 4"]:
    """Around 1 where they multiply, around 0 where they are added: to brightness in BYOL's style, to hue in both."""
    reach = np.array([view.brightness, view.contrast, view.saturation, view.hue])
    about = np.array([0 if view.style == "byol" else 1, 1, 1, 0])
    factors: NDArray[np.float32] = (about + reach * (2 * u - 1)).astype(np.float32)
    return factors


def _boxes(
    view: View, u: Float64[np.ndarray, "b lanes"], heights: NDArray[np.integer], widths: NDArray[np.integer]
) -> Float64[np.ndarray, "b 4"]:
    """RandomResizedCrop: the first of ten boxes that fits the image, else the largest one in the middle."""
    h, w = heights[:, None].astype(np.float64), widths[:, None].astype(np.float64)
    area = h * w * _between(view.area, u[:, :TRIES])
    aspect = np.exp(_between((math.log(view.aspect[0]), math.log(view.aspect[1])), u[:, TRIES : 2 * TRIES]))
    tall, wide = np.rint(np.sqrt(area / aspect)), np.rint(np.sqrt(area * aspect))
    fits = (tall > 0) & (tall <= h) & (wide > 0) & (wide <= w)
    first = fits.argmax(1)[:, None]
    size = np.hstack([np.take_along_axis(tall, first, 1), np.take_along_axis(wide, first, 1)])
    room = np.hstack([h, w]) - size
    drawn = np.hstack([np.floor(u[:, 2 * TRIES :] * (room + 1)), size])
    return np.where(fits.any(1, keepdims=True), drawn, _middle(view.aspect, h, w))


def _middle(aspect: tuple[float, float], h: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest box of an allowed aspect, in the middle."""
    tall, wide = np.minimum(h, np.rint(w / aspect[0])), np.minimum(w, np.rint(h * aspect[1]))
    return np.hstack([(h - tall) // 2, (w - wide) // 2, tall, wide])


def _centred(view: View, heights: NDArray[np.integer], widths: NDArray[np.integer]) -> Draws:
    side = CENTRE_SHARE * np.minimum(heights, widths)
    box = np.stack([(heights - side) / 2, (widths - side) / 2, side, side], 1)
    n, no = len(box), np.zeros(len(box), bool)
    order, factors = np.zeros((n, 4), np.uint8), np.zeros((n, 4), np.float32)
    return Draws(box, no, no, order, factors, no, np.zeros(n, np.float32), no, view.style)


def render(
    pictures: Ragged, rows: NDArray[np.int64], draws: Draws, size: int, threads: int = 1
) -> UInt8[np.ndarray, "batch size size 3"]:
    """The pixels of the views of these rows of `pictures`: the same bits on any number of threads."""
    out = np.empty((len(rows), size, size, 3), np.uint8)
    share = max(FEWEST, math.ceil(len(rows) / threads))
    parts = [slice(at, at + share) for at in range(0, len(rows), share)]
    fill = functools.partial(_fill, pictures, rows, draws, out)
    if len(parts) > 1:
        list(_pool(threads).map(fill, parts))
    elif parts:
        fill(parts[0])
    return out


def _fill(
    pictures: Ragged, rows: NDArray[np.int64], draws: Draws, out: UInt8[np.ndarray, "batch size size 3"], part: slice
) -> None:
    from .kernel import render_chunk  # numba takes its time to import, and a recipe only writes views down

    row, d, size = rows[part], draws[part], out.shape[1]
    flat = np.asarray(pictures.flat).view()
    flat.flags.writeable = False  # one type for arrays and maps of a file, so one compilation
    at = pictures.starts[row], pictures.heights[row], pictures.widths[row]
    drawn = d.box, d.flip, d.jitter, d.order, d.factors, d.grey, d.sigma, d.solarize
    render_chunk(flat, *at, *drawn, d.style == "byol", _taps(size), out[part])


def _taps(size: int) -> int:
    """The blur's width: 23 pixels of 224, to the nearest odd number, and never under 3."""
    return max(3, 2 * round((23 * size / 224 - 1) / 2) + 1)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="views")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads don't come along into a forked process


def views_of(
    view: View,
    pictures: Ragged,
    rows: NDArray[np.int64],
    purpose: Sequence[int | str],
    index: Index,
    threads: int = 1,
) -> UInt8[np.ndarray, "batch size size 3"]:
    """One view of each of these rows of `pictures`; `index` names the images to chance, wherever their rows are."""
    draws = draw(view, purpose, index, pictures.heights[rows], pictures.widths[rows])
    return render(pictures, rows, draws, view.size, threads)
