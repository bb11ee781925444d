"""Pixels of views, in one compiled call without the GIL: crop, flip, jitter, grey, blur, solarize.

A view is made in three planes of float32 in [0, 1] that lie on their side, planes[channel, column, row], so that every
inner loop runs over neighbours in memory; the last step turns it upright. Without fastmath each addition is rounded the
same way on every processor, so the bits depend on no vector width.

Constants are float32 by hand: a bare 0.5 would make a float64 of all it touches. It is all one file, as numba looks at
the file of the function called, and at no other, to see whether what it compiled before is out of date.
"""

import atexit
import math
import os
import shutil
import tempfile
from pathlib import Path

import numba
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8
from numpy.typing import NDArray

from ..artifacts import cache_folder

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

ZERO, HALF, ONE, TWO, FOUR, SIX = (np.float32(x) for x in (0, 0.5, 1, 2, 4, 6))
RED, GREEN, BLUE = np.float32(0.2989), np.float32(0.5870), np.float32(0.1140)
BYTE = np.float32(255)

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Weights = tuple[NDArray[np.int64], NDArray[np.int64], Floats]


def compiled_folder() -> str:
    """Where compiled code is kept: a folder that can be written, if need be one that goes when this process goes."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or cache_folder() / "numba")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:
        own = tempfile.mkdtemp(prefix="divcon-numba-")
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return own


vars(numba.config).update(CACHE_DIR=compiled_folder())
compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


@compiled
def render_chunk(
    flat: UInt8[np.ndarray, "bytes"],
    starts: Int64[np.ndarray, "b"],
    heights: Int32[np.ndarray, "b"],
    widths: Int32[np.ndarray, "b"],
    box: Float64[np.ndarray, "b 4"],
    flip: Bool[np.ndarray, "b"],
    jitter: Bool[np.ndarray, "b"],
    order: UInt8[np.ndarray, "b 4"],
    factors: Float32[np.ndarray, "b 4"],
    grey: Bool[np.ndarray, "b"],
    sigma: Float32[np.ndarray, "b"],
    solarize: Bool[np.ndarray, "b"],
    additive: bool,
    taps: int,
    out: UInt8[np.ndarray, "b size size 3"],
) -> None:
    """Fill `out` with the views of the pictures that begin at `starts`."""
    size = out.shape[1]
    planes = np.empty((3, size, size), np.float32)
    padded, halfway = np.empty((size + taps, size + taps), np.float32), np.empty((size + taps, size), np.float32)
    line = np.empty(3 * max(np.max(widths), size), np.float32)
    lying = np.empty((3 * np.max(widths), size), np.float32)
    widest = 2 * math.ceil(2 * max(1.0, np.max(box[:, 2:]) / size)) + 1
    down, across = weights_for(size, widest), weights_for(size, widest)
    for i in range(len(out)):
        top, left, tall, wide = box[i]
        bicubic(top, tall, heights[i], False, down)
        bicubic(left, wide, widths[i], flip[i], across)
        crop(flat, starts[i], widths[i], down, across, line, lying, planes)
        if jitter[i]:
            colour(planes, order[i], factors[i], additive, line)
        if grey[i]:
            to_grey(planes)
        if sigma[i] > ZERO:
            blur(planes, sigma[i], taps, not additive, padded, halfway)
        if solarize[i]:
            to_solar(planes)
        upright(planes, out[i])


@compiled
def weights_for(size: int, widest: int) -> Weights:
    """Room for a resampling along one axis: where each output begins to read, how many it reads, their weights."""
    return np.empty(size, np.int64), np.empty(size, np.int64), np.empty((size, 4 * ((widest + 3) // 4)), np.float32)


@compiled
def bicubic(start: float, extent: float, length: int, backwards: bool, weights: Weights) -> None:
    """Antialiased bicubic weights that take [start, start + extent) of an axis of `length` to all of the output.

    Pixels beyond the box, but within the picture, count at the box's edge.
    """
    first, count, weight = weights
    size = len(first)
    scale = extent / size
    stretch = max(scale, 1.0)
    shrink = 1 / stretch
    for o in range(size):
        row = size - 1 - o if backwards else o
        middle = start + (o + 0.5) * scale
        begin = max(0, int(middle - 2 * stretch + 0.5))
        end = min(length, int(middle + 2 * stretch + 0.5))
        first[row], count[row] = begin, end - begin
        weight[row], total = ZERO, 0.0
        for k in range(end - begin):
            w = cubic((begin + k + 0.5 - middle) * shrink)
            weight[row, k] = w
            total += w
        for k in range(end - begin):
            weight[row, k] /= np.float32(total)


@compiled
def cubic(x: float) -> float:
    """Keys' cubic with a = -1/2."""
    x = abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return near if x < 1 else (far if x < 2 else 0.0)


@compiled
def crop(
    flat: Bytes, start: int, width: int, down: Weights, across: Weights, line: Floats, lying: Floats, planes: Floats
) -> None:
    """Resample the picture into the planes: down its columns first, as its rows lie in memory, then across them."""
    first, count, _ = across
    size = len(first)
    begin = min(first[0], first[size - 1])
    end = max(first[0] + count[0], first[size - 1] + count[size - 1])
    resample_down(flat, start + 3 * begin, 3 * width, 3 * (end - begin), down, line, lying)
    resample_across(lying.reshape(-1, 3 * size), begin, across, line, planes)


@compiled
def resample_down(flat: Bytes, start: int, stride: int, n: int, down: Weights, line: Floats, lying: Floats) -> None:
    """lying[x, o] = sum_k weight[o, k] source[first[o] + k, x] / 255, for n neighbouring bytes x."""
    first, count, weight = down
    for o in range(len(first)):
        line[:n] = ZERO
        for k in range(0, count[o], 4):
            add_bytes(line, n, weight[o, k : k + 4], flat, start, stride, first[o] + k, first[o] + count[o] - 1)
        for x in range(n):
            lying[x, o] = line[x]


@compiled
def add_bytes(line: Floats, n: int, weight: Floats, flat: Bytes, start: int, stride: int, row: int, last: int) -> None:
    """Add four weighted rows in one go; past the last row the weights are 0."""
    w0, w1, w2, w3 = weight[0] / BYTE, weight[1] / BYTE, weight[2] / BYTE, weight[3] / BYTE
    # Unsigned, so that no index has to be asked whether it counts from the end.
    a = np.uint64(start + row * stride)
    b = np.uint64(start + min(row + 1, last) * stride)
    c = np.uint64(start + min(row + 2, last) * stride)
    d = np.uint64(start + min(row + 3, last) * stride)
    for x in range(np.uint64(n)):
        low = w0 * np.float32(flat[a + x]) + w1 * np.float32(flat[b + x])
        line[x] += low + (w2 * np.float32(flat[c + x]) + w3 * np.float32(flat[d + x]))


@compiled
def resample_across(lying: Floats, begin: int, across: Weights, line: Floats, planes: Floats) -> None:
    """planes[c, o] = sum_k weight[o, k] lying[first[o] + k - begin, c], clipped to [0, 1]: a cubic overshoots."""
    first, count, weight = across
    size = len(first)
    for o in range(size):
        line[: 3 * size] = ZERO
        for k in range(0, count[o], 4):
            add_floats(line, weight[o, k : k + 4], lying, first[o] - begin + k, first[o] - begin + count[o] - 1)
        for c in range(3):
            part = line[c * size :]
            for y in range(size):
                planes[c, o, y] = clip(part[y])


@compiled
def add_floats(line: Floats, weight: Floats, lying: Floats, row: int, last: int) -> None:
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    b, c, d = min(row + 1, last), min(row + 2, last), min(row + 3, last)
    for x in range(lying.shape[1]):
        line[x] += (w0 * lying[row, x] + w1 * lying[b, x]) + (w2 * lying[c, x] + w3 * lying[d, x])


@compiled
def clip(x: np.float32) -> np.float32:
    x = x if x > ZERO else ZERO
    return x if x < ONE else ONE


@compiled
def colour(planes: Floats, order: Bytes, factors: Floats, additive: bool, line: Floats) -> None:
    """The four steps of a colour jitter in their order, each clipped to [0, 1]."""
    for step in order:
        if step == BRIGHTNESS:
            brighten(planes, factors[BRIGHTNESS], additive)
        elif step == CONTRAST:
            contrast(planes, factors[CONTRAST], additive, line)
        elif step == SATURATION and additive:
            saturate(planes, factors[SATURATION])
        elif step == SATURATION:
            blend_with_grey(planes, factors[SATURATION])
        else:
            rotate_hue(planes, factors[HUE])


@compiled
def brighten(planes: Floats, factor: np.float32, additive: bool) -> None:
    gain, offset = (ONE, factor) if additive else (factor, ZERO)
    values = planes.ravel()
    for x in range(len(values)):
        values[x] = clip(gain * values[x] + offset)


@compiled
def contrast(planes: Floats, factor: np.float32, per_channel: bool, line: Floats) -> None:
    """Stretch about each channel's own mean, or all about the mean of the grey picture."""
    r, g, b = mean(planes[0], line), mean(planes[1], line), mean(planes[2], line)
    if not per_channel:
        r = g = b = RED * r + GREEN * g + BLUE * b
    for c in range(3):
        centre = (r, g, b)[c]
        values = planes[c].ravel()
        for x in range(len(values)):
            values[x] = clip(factor * (values[x] - centre) + centre)


@compiled
def mean(plane: Floats, line: Floats) -> np.float32:
    """Sums of rows side by side, then their sum: no addition waits for the one before it."""
    line[: len(plane)] = ZERO
    for y in range(len(plane)):
        for x in range(len(plane)):
            line[x] += plane[y, x]
    total = ZERO
    for x in range(len(plane)):
        total += line[x]
    return total / np.float32(plane.size)


@compiled
def saturate(planes: Floats, factor: np.float32) -> None:
    """HSV saturation times a factor, at most 1.

    Hue and value stay, so each channel's distance from the largest one is what is multiplied.
    """
    r, g, b = planes[0].ravel(), planes[1].ravel(), planes[2].ravel()
    for x in range(len(r)):
        most = max(r[x], g[x], b[x])
        chroma = most - min(r[x], g[x], b[x])
        full = most / (chroma if chroma > ZERO else ONE)
        ratio = factor if factor < full else full
        r[x] = clip(most - ratio * (most - r[x]))
        g[x] = clip(most - ratio * (most - g[x]))
        b[x] = clip(most - ratio * (most - b[x]))


@compiled
def blend_with_grey(planes: Floats, factor: np.float32) -> None:
    r, g, b = planes[0].ravel(), planes[1].ravel(), planes[2].ravel()
    for x in range(len(r)):
        rest = (ONE - factor) * (RED * r[x] + GREEN * g[x] + BLUE * b[x])
        r[x] = clip(factor * r[x] + rest)
        g[x] = clip(factor * g[x] + rest)
        b[x] = clip(factor * b[x] + rest)


@compiled
def rotate_hue(planes: Floats, turn: np.float32) -> None:
    """Turn the hue by a share of the circle; value and saturation stay."""
    r, g, b = planes[0].ravel(), planes[1].ravel(), planes[2].ravel()
    for x in range(len(r)):
        most = max(r[x], g[x], b[x])
        chroma = most - min(r[x], g[x], b[x])
        hue = wrap(sextant(r[x], g[x], b[x], most, chroma) + SIX * turn)
        r[x] = most - chroma * short_of_most(hue + np.float32(5))
        g[x] = most - chroma * short_of_most(hue + np.float32(3))
        b[x] = most - chroma * short_of_most(hue + ONE)


@compiled
def sextant(r: np.float32, g: np.float32, b: np.float32, most: np.float32, chroma: np.float32) -> np.float32:
    """Hue in sixths of the circle, in [-1, 5]; 0 for a grey."""
    unit = ONE / (chroma if chroma > ZERO else ONE)
    low = (g - b) * unit if most == r else (b - r) * unit + TWO
    return low if most in (r, g) else (r - g) * unit + FOUR


@compiled
def wrap(hue: np.float32) -> np.float32:
    """Into [0, 6) from at most one turn away."""
    hue = hue + SIX if hue < ZERO else hue
    return hue - SIX if hue >= SIX else hue


@compiled
def short_of_most(hue: np.float32) -> np.float32:
    """How far a channel lies under the largest one, in chromas: 0 for a third of the circle, 1 for another."""
    hue = hue - SIX if hue >= SIX else hue
    return clip(min(hue, FOUR - hue))


@compiled
def to_grey(planes: Floats) -> None:
    r, g, b = planes[0].ravel(), planes[1].ravel(), planes[2].ravel()
    for x in range(len(r)):
        grey = clip(RED * r[x] + GREEN * g[x] + BLUE * b[x])
        r[x] = grey
        g[x] = grey
        b[x] = grey


@compiled
def to_solar(planes: Floats) -> None:
    values = planes.ravel()
    for x in range(len(values)):
        values[x] = values[x] if values[x] < HALF else ONE - values[x]


@compiled
def blur(planes: Floats, sigma: np.float32, taps: int, reflect: bool, padded: Floats, halfway: Floats) -> None:
    """A Gaussian of `taps` weights along both axes; beyond the edge lies the reflected picture, or black."""
    weight = gaussian(sigma, taps // 2)
    for c in range(3 if len(weight) > 1 else 0):
        pad(planes, c, len(weight) - 1, reflect, padded)
        blur_rows(padded, weight, halfway)
        blur_columns(halfway, weight, planes, c)


@compiled
def gaussian(sigma: np.float32, radius: int) -> Floats:
    """Weights of a middle and of each distance from it, without those that could not be seen in a byte."""
    raw = np.exp(-0.5 * (np.arange(radius + 1) / float(sigma)) ** 2)
    weight = raw / (2 * raw.sum() - raw[0])
    seen: Floats = weight[weight > 1e-5].astype(np.float32)
    return seen


@compiled
def pad(planes: Floats, c: int, reach: int, reflect: bool, padded: Floats) -> None:
    """One plane with a margin of `reach` around it."""
    size = planes.shape[1]
    padded[: size + 2 * reach, : size + 2 * reach] = ZERO
    for y in range(size):
        row = padded[y + reach, reach:]
        for x in range(size):
            row[x] = planes[c, y, x]
    if reflect:
        mirror(padded, size, reach)
        mirror(padded.T, size, reach)


@compiled
def mirror(padded: Floats, size: int, reach: int) -> None:
    """Fill the margin above and below with what lies as far inside; the edge itself is not repeated."""
    for k in range(1, reach + 1):
        near, far = min(k, size - 1), max(size - 1 - k, 0)
        padded[reach - k] = padded[reach + near]
        padded[reach + size - 1 + k] = padded[reach + far]


@compiled
def blur_rows(padded: Floats, weight: Floats, halfway: Floats) -> None:
    size, reach = halfway.shape[1], len(weight) - 1
    for y in range(size + 2 * reach):
        middle = padded[y, reach:]
        for x in range(size):
            halfway[y, x] = weight[0] * middle[x]
        for k in range(1, reach + 1):
            w, before, after = weight[k], padded[y, reach - k :], padded[y, reach + k :]
            for x in range(size):
                halfway[y, x] += w * (before[x] + after[x])


@compiled
def blur_columns(halfway: Floats, weight: Floats, planes: Floats, c: int) -> None:
    size, reach = planes.shape[1], len(weight) - 1
    for y in range(size):
        for x in range(size):
            planes[c, y, x] = weight[0] * halfway[y + reach, x]
        for k in range(1, reach + 1):
            w, before, after = weight[k], y + reach - k, y + reach + k
            for x in range(size):
                planes[c, y, x] += w * (halfway[before, x] + halfway[after, x])


@compiled
def upright(planes: Floats, out: Bytes) -> None:
    """Bytes, rounded to the nearest."""
    size = len(out)
    for y in range(size):
        for x in range(size):
            for c in range(3):
                out[y, x, c] = np.uint8(np.int32(planes[c, x, y] * BYTE + HALF))
