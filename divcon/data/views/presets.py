"""Pairs of views by name, as the papers have them."""

from collections.abc import Callable
from dataclasses import replace

from .view import View


def byol(size: int) -> tuple[View, View]:
    """BYOL's T and T', which DnC uses (Table 12): one always blurred; the other seldom, but at times solarized."""
    return View(size, blur=1.0), View(size, blur=0.1, solarize=0.2)


def mild(size: int) -> tuple[View, View]:
    """For small images: both views alike, from three tenths of the image on, half of BYOL's colors, and sharp under 64
    pixels (LOG.md, 2026-11-22)."""
    view = View(
        size, area=(0.3, 1.0), brightness=0.2, contrast=0.2, saturation=0.1, hue=0.05, blur=0.5 if size >= 64 else 0.0
    )
    return view, view


def simclr(size: int) -> tuple[View, View]:
    """SimCLR's strong colors, and half of the views blurred."""
    strong = View(size, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5, style="torchvision")
    return strong, strong


def plain(view: View) -> View:
    """A view of the same size that is no more than a crop, of half of the image at least, flipped or not: for methods that
    learn from where things are, or from their own pixels."""
    return View(view.size, area=(0.5, 1.0), flip=view.flip, jitter=0.0, gray=0.0, style=view.style)


def moco(size: int) -> tuple[View, View]:
    """MoCo v2's: BYOL's colors with more saturation, in torchvision's arithmetic, from a fifth of the image on."""
    view = View(size, area=(0.2, 1.0), saturation=0.4, blur=0.5, style="torchvision")
    return view, view


def moco_v3(size: int) -> tuple[View, View]:
    """BYOL's, from a fifth of the image on."""
    one, other = byol(size)
    return replace(one, area=(0.2, 1.0)), replace(other, area=(0.2, 1.0))


def npid(size: int) -> tuple[View, View]:
    """Instance recognition's and Local Aggregation's: colors always moved, hue far, and never a blur."""
    view = View(size, area=(0.2, 1.0), jitter=1.0, saturation=0.4, hue=0.4, style="torchvision")
    return view, view


def center(size: int) -> View:
    """The view to judge by: the short side to 256/224 of the size, then the square in the middle."""
    return View(size, center=True)


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
    "byol": byol,
    "mild": mild,
    "simclr": simclr,
    "swav": swav,
    "crop": crop,
    "moco": moco,
    "moco_v3": moco_v3,
    "npid": npid,
}
