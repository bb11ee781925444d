"""Changes of the color of each pixel, block by block: a block stays in the first cache through all steps."""

import numpy as np

from .compiling import BYTE, FOUR, HALF, ONE, SIX, THREE, TWO, ZERO, Bytes, Floats, clip, subroutine

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
RED, GREEN, BLUE = np.float32(0.2989), np.float32(0.5870), np.float32(0.1140)
BLOCK = 1024  # pixels
TINY = np.float32(1e-9)
PARTS = np.float32(65536)  # of 1, the unit of sums for means: sums of whole numbers may have any order

Means = tuple[np.float32, np.float32, np.float32]


@subroutine
def color(planes: Floats, order: Bytes, factors: Floats, additive: bool) -> None:
    """Do the four steps of a color jitter in the given order, each clipped to [0, 1].

    Contrast needs the mean after the steps before it, so there are two rounds over the blocks.
    """
    n, turn = planes.shape[1], 0
    while order[turn] != CONTRAST:
        turn += 1
    red = green = blue = 0
    for at in range(0, n, BLOCK):
        r, g, b = planes[0, at : at + BLOCK], planes[1, at : at + BLOCK], planes[2, at : at + BLOCK]
        take_steps(r, g, b, order[:turn], factors, additive)
        red, green, blue = red + sum_of(r), green + sum_of(g), blue + sum_of(b)
    centers = center(red, green, blue, n, additive)
    for at in range(0, n, BLOCK):
        r, g, b = planes[0, at : at + BLOCK], planes[1, at : at + BLOCK], planes[2, at : at + BLOCK]
        stretch(r, g, b, factors[CONTRAST], centers)
        take_steps(r, g, b, order[turn + 1 :], factors, additive)


@subroutine
def take_steps(r: Floats, g: Floats, b: Floats, order: Bytes, factors: Floats, additive: bool) -> None:
    for step in order:
        factor = factors[step]
        if step == BRIGHTNESS:
            brighten(r, g, b, factor, additive)
        elif step == SATURATION and additive:
            saturate(r, g, b, factor)
        elif step == SATURATION:
            blend_with_gray(r, g, b, factor)
        else:
            rotate_hue(r, g, b, factor)


@subroutine
def sum_of(values: Floats) -> int:
    """Return the sum, in units of 1 / PARTS."""
    total = np.int32(0)
    for x in range(np.uint64(len(values))):
        total = np.int32(total + np.int32(values[x] * PARTS + HALF))
    return int(total)


@subroutine
def center(red: int, green: int, blue: int, n: int, per_channel: bool) -> Means:
    """Return the center of contrast of each channel: its own mean, or the mean of the gray image."""
    unit = 1 / (65536.0 * n)
    r, g, b = np.float32(red * unit), np.float32(green * unit), np.float32(blue * unit)
    gray = RED * r + GREEN * g + BLUE * b
    return (r, g, b) if per_channel else (gray, gray, gray)


@subroutine
def stretch(r: Floats, g: Floats, b: Floats, factor: np.float32, centers: Means) -> None:
    linear(r, factor, (ONE - factor) * centers[0])
    linear(g, factor, (ONE - factor) * centers[1])
    linear(b, factor, (ONE - factor) * centers[2])


@subroutine
def brighten(r: Floats, g: Floats, b: Floats, factor: np.float32, additive: bool) -> None:
    gain, offset = (ONE, factor) if additive else (factor, ZERO)
    linear(r, gain, offset)
    linear(g, gain, offset)
    linear(b, gain, offset)


@subroutine
def linear(values: Floats, gain: np.float32, offset: np.float32) -> None:
    for x in range(np.uint64(len(values))):
        values[x] = clip(gain * values[x] + offset)


@subroutine
def saturate(r: Floats, g: Floats, b: Floats, factor: np.float32) -> None:
    """Multiply the saturation of HSV by a factor, up to 1.

    Hue and value stay, so the distance of each channel from the largest one is multiplied.
    """
    for x in range(np.uint64(len(r))):
        most = max(r[x], g[x], b[x])
        chroma = most - min(r[x], g[x], b[x])
        ratio = min(factor, most / max(chroma, TINY))
        r[x] = max(most - ratio * (most - r[x]), ZERO)
        g[x] = max(most - ratio * (most - g[x]), ZERO)
        b[x] = max(most - ratio * (most - b[x]), ZERO)


@subroutine
def blend_with_gray(r: Floats, g: Floats, b: Floats, factor: np.float32) -> None:
    for x in range(np.uint64(len(r))):
        rest = (ONE - factor) * (RED * r[x] + GREEN * g[x] + BLUE * b[x])
        r[x] = clip(factor * r[x] + rest)
        g[x] = clip(factor * g[x] + rest)
        b[x] = clip(factor * b[x] + rest)


@subroutine
def rotate_hue(r: Floats, g: Floats, b: Floats, turn: np.float32) -> None:
    """Turn the hue by a share of the circle; value and saturation stay.

    Hue is counted in sixths of the circle times chroma: this needs no division, and no special case for gray.
    """
    for x in range(np.uint64(len(r))):
        most = max(r[x], g[x], b[x])
        chroma = most - min(r[x], g[x], b[x])
        hue = wrap(hue_of(r[x], g[x], b[x], most, chroma) + SIX * turn * chroma, SIX * chroma)
        r[x] = most - within(TWO * chroma - abs(hue - THREE * chroma), chroma)
        g[x] = most - within(abs(hue - TWO * chroma) - chroma, chroma)
        b[x] = most - within(abs(hue - FOUR * chroma) - chroma, chroma)


@subroutine
def hue_of(r: np.float32, g: np.float32, b: np.float32, most: np.float32, chroma: np.float32) -> np.float32:
    """Return the hue, from -1 to 5 chromas; the largest channel is at 0, 2 or 4."""
    blue = (r - g) + FOUR * chroma
    return g - b if most == r else ((b - r) + TWO * chroma if most == g else blue)


@subroutine
def wrap(hue: np.float32, circle: np.float32) -> np.float32:
    """Bring a hue that is at most one turn away back into the circle."""
    hue = hue + circle if hue < ZERO else hue
    return hue - circle if hue > circle else hue


@subroutine
def within(x: np.float32, most: np.float32) -> np.float32:
    return min(max(x, ZERO), most)


@subroutine
def to_gray(planes: Floats) -> None:
    r, g, b = planes[0], planes[1], planes[2]
    for x in range(np.uint64(len(r))):
        gray = clip(RED * r[x] + GREEN * g[x] + BLUE * b[x])
        r[x] = gray
        g[x] = gray
        b[x] = gray


@subroutine
def to_solar(planes: Floats) -> None:
    values = planes.ravel()
    for x in range(np.uint64(len(values))):
        values[x] = values[x] if values[x] < HALF else ONE - values[x]


@subroutine
def to_bytes(planes: Floats, out: Bytes) -> None:
    """Round to the nearest byte; the channels of a pixel are stored side by side."""
    r, g, b, flat = planes[0], planes[1], planes[2], out.ravel()
    for x in range(np.uint64(len(r))):
        o = x * np.uint64(3)
        flat[o] = np.uint8(np.int32(r[x] * BYTE + HALF))
        flat[o + np.uint64(1)] = np.uint8(np.int32(g[x] * BYTE + HALF))
        flat[o + np.uint64(2)] = np.uint8(np.int32(b[x] * BYTE + HALF))
