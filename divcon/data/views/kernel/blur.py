"""A Gaussian blur along both axes, one plane at a time, in 16 bits: twice as many numbers to a vector as in 32."""

import numpy as np

from .compiling import Floats, Shorts, part

WHITE = np.float32(16383)  # two of it can be added before they are weighed
WEIGHT = 65536  # a weight of 1: of what is multiplied, the upper half is kept
STRETCH = 2048  # numbers that are blurred down in one go: those around them are still in the first cache


@part
def blur(planes: Floats, sigma: np.float32, most: int, mirrored: bool, padded: Shorts, halfway: Shorts) -> None:
    """Weights reach at most `most` pixels to each side; beyond the edge lies the mirrored picture, or black."""
    weight = gaussian(sigma, most)
    reach, size = len(weight) - 1, int(np.sqrt(planes.shape[1]))
    wide = size + 2 * reach
    source, target = padded[: wide * wide].reshape(wide, wide), halfway[: wide * wide].reshape(wide, wide)
    source[:] = 0
    for c in range(3 if weight[1] > 0 else 0):
        set_in(planes[c], reach, mirrored, source)
        blur_along(source, 1, weight, target)
        margin(target, reach, mirrored)
        blur_along(target, wide, weight, source)
        take_out(source, reach, planes[c])


@part
def gaussian(sigma: np.float32, most: int) -> Shorts:
    """Half the weight of the middle, and the weights of each distance from it that could be seen in a byte.

    Distances are taken two at a time, so there may be a 0 at the end to make them even.
    """
    raw = np.exp(-0.5 * (np.arange(most + 1) / float(sigma)) ** 2)
    exact = raw / (2 * raw.sum() - raw[0])
    seen = np.sum(exact[1:] > 1e-5)
    weight = np.zeros(max(2, seen + seen % 2) + 1, np.int16)
    for k in range(1, seen + 1):
        weight[k] = int(WEIGHT * exact[k] + 0.5)
    weight[0] = min(WEIGHT // 2 - np.sum(weight[1:]), 32767)
    return weight


@part
def set_in(plane: Floats, reach: int, mirrored: bool, framed: Shorts) -> None:
    """The plane within a margin to its left and right."""
    size = len(framed) - 2 * reach
    for y in range(size):
        row = framed[reach + y]
        to_shorts(plane[y * size : (y + 1) * size], row[reach : reach + size])
        mirror(row, reach, mirrored)


@part
def mirror(row: Shorts, reach: int, mirrored: bool) -> None:
    """Fill the margin: with what lies as far inside, the edge itself not repeated; or with black."""
    size = len(row) - 2 * reach
    for k in range(1, reach + 1):
        row[reach - k] = row[reach + min(k, size - 1)] if mirrored else 0
        row[reach + size - 1 + k] = row[reach + max(size - 1 - k, 0)] if mirrored else 0


@part
def margin(framed: Shorts, reach: int, mirrored: bool) -> None:
    """The same above and below."""
    size = len(framed) - 2 * reach
    framed[:reach], framed[reach + size :] = 0, 0
    for k in range(1, reach + 1 if mirrored else 0):
        copy(framed[reach + min(k, size - 1)], framed[reach - k])
        copy(framed[reach + max(size - 1 - k, 0)], framed[reach + size - 1 + k])


@part
def blur_along(framed: Shorts, apart: int, weight: Shorts, out: Shorts) -> None:
    """All that lies between the margins above and below, in stretches; what it makes of the other margins is idle."""
    reach, wide = len(weight) - 1, len(framed)
    source, target = framed.ravel(), out.ravel()
    begin, end = reach * (wide + 1), (wide - reach) * wide - reach
    for at in range(begin, end, STRETCH):
        to = min(at + STRETCH, end)
        blur_line(source[at - reach * apart : to + reach * apart], apart, weight, target[at:to])


@part
def take_out(framed: Shorts, reach: int, plane: Floats) -> None:
    size = len(framed) - 2 * reach
    for y in range(size):
        to_floats(framed[reach + y, reach : reach + size], plane[y * size : (y + 1) * size])


@part
def to_shorts(source: Floats, target: Shorts) -> None:
    for x in range(np.uint64(len(target))):
        target[x] = np.int16(np.int32(source[x] * WHITE + np.float32(0.5)))


@part
def to_floats(source: Shorts, target: Floats) -> None:
    for x in range(np.uint64(len(target))):
        target[x] = np.float32(source[x]) * (np.float32(1) / WHITE)


@part
def copy(source: Shorts, target: Shorts) -> None:
    for x in range(np.uint64(len(target))):
        target[x] = source[x]


@part
def blur_line(source: Shorts, apart: int, weight: Shorts, out: Shorts) -> None:
    """out[x] = sum_k weight[|k|] source[middle + x + k apart], the middle being as far in as the weights reach."""
    middle = np.uint64(apart * (len(weight) - 1))
    first_weights(source, middle, np.uint64(apart), weight[:3], np.int16(len(weight) // 2), out)
    for k in range(3, len(weight), 2):
        more_weights(source, middle, np.uint64(k * apart), np.uint64((k + 1) * apart), weight[k : k + 2], out)


@part
def first_weights(
    source: Shorts, middle: np.uint64, apart: np.uint64, weight: Shorts, lost: np.int16, out: Shorts
) -> None:
    """Each weighing is rounded down: what is lost by that, half a part for each, is given back here."""
    a, b, c, d = middle - apart, middle + apart, middle - apart - apart, middle + apart + apart
    w0, w1, w2 = weight[0], weight[1], weight[2]
    for x in range(np.uint64(len(out))):
        here = np.int16(lost + weighed(source[middle + x], source[middle + x], w0))
        near, far = weighed(source[a + x], source[b + x], w1), weighed(source[c + x], source[d + x], w2)
        out[x] = np.int16(here + np.int16(near + far))


@part
def more_weights(
    source: Shorts, middle: np.uint64, near: np.uint64, far: np.uint64, weight: Shorts, out: Shorts
) -> None:
    a, b, c, d = middle - near, middle + near, middle - far, middle + far
    w1, w2 = weight[0], weight[1]
    for x in range(np.uint64(len(out))):
        out[x] = np.int16(out[x] + weighed(source[a + x], source[b + x], w1))
        out[x] = np.int16(out[x] + weighed(source[c + x], source[d + x], w2))


@part
def weighed(x: np.int16, y: np.int16, weight: np.int16) -> np.int16:
    """The sum of both times weight / 65536, rounded down."""
    return np.int16((np.int32(np.int16(x + y)) * np.int32(weight)) >> 16)
