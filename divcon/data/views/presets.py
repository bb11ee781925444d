"""Pairs of views by name, as in the papers. Each function takes the size of a view in pixels."""

from collections.abc import Callable
from dataclasses import replace

from .view import View


def byol(size: int) -> tuple[View, View]:
    """Return BYOL's T and T', which DnC uses (Table 12): one is always blurred, the other seldom, and sometimes solarized."""
    return View(size, blur=1.0), View(size, blur=0.1, solarize=0.2)


def mild(size: int) -> tuple[View, View]:
    """Return two equal views for small images: crops of at least three tenths, half of BYOL's color changes, and no blur
    under 64 pixels (LOG.md, 2026-11-22)."""
    view = View(
        size, area=(0.3, 1.0), brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05, blur=0.5 if size >= 64 else 0.0
    )
    return view, view


def simclr(size: int) -> tuple[View, View]:
    """Return SimCLR's views: strong color changes, and half of the views blurred."""
    strong = View(size, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5, style="torchvision")
    return strong, strong


def plain(view: View) -> View:
    """Return a view of the same size with a crop of at least half of the image, and the same flips: for methods that
    learn from positions or from pixels."""
    return View(view.size, area=(0.5, 1.0), flip=view.flip, jitter=0.0, gray=0.0, style=view.style)


def moco(size: int) -> tuple[View, View]:
    """Return MoCo v2's views: BYOL's colors with more saturation, torchvision's arithmetic, crops of at least a fifth."""
    view = View(size, area=(0.2, 1.0), saturation=0.4, blur=0.5, style="torchvision")
    return view, view


def moco_v3(size: int) -> tuple[View, View]:
    """Return BYOL's views with crops of at least a fifth of the image."""
    one, other = byol(size)
    return replace(one, area=(0.2, 1.0)), replace(other, area=(0.2, 1.0))


def npid(size: int) -> tuple[View, View]:
    """Return the views of NPID and Local Aggregation: the colors always change, the hue strongly, and nothing is blurred."""
    view = View(size, area=(0.2, 1.0), jitter=1.0, saturation=0.4, hue=0.4, style="torchvision")
    return view, view


def center(size: int) -> View:
    """Return the view of evaluations: the short side resized to 256/224 of the size, then the square in the middle."""
    return View(size, center=True)


def swav(size: int) -> tuple[View, View]:
    """Return SimCLR's views with crops of at least a seventh of the image; the small crops show less."""
    strong = replace(simclr(size)[0], area=(0.14, 1.0))
    return strong, strong


def small_crops(view: View, crops: int, share: float) -> tuple[View, ...]:
    """Return small views, `share` times as wide: each crops less of the image than the large view, from about a third of
    its least area to its least area (0.05 to 0.14 in SwAV)."""
    least = view.area[0]
    small = replace(view, size=max(8, round(view.size * share)), area=(least * 0.05 / 0.14, least))
    return (small,) * crops


def crop(size: int) -> tuple[View, View]:
    """Return two views with a random crop and a random flip, and no other change."""
    view = replace(plain(View(size)), area=(0.08, 1.0))
    return view, view


PRESETS: dict[str, Callable[[int], tuple[View, View]]] = {
    "byol": byol,
    "mild": mild,
    "simclr": simclr,
    "swav": swav,
    "crop": crop,
    "moco": moco,
    "moco_v3": moco_v3,
    "npid": npid,
}
