"""A Gaussian blur along both axes, one plane at a time, in 16 bits: a vector holds twice as many numbers as of 32."""

import numpy as np

from .compiling import Floats, Shorts, subroutine

WHITE = np.float32(16383)  # the sum of two still fits
WEIGHT = 65536  # a weight of 1: the upper half of a product is kept
STRETCH = 2048  # numbers that are blurred together, so that their neighbors are still in the first cache


@subroutine
def blur(planes: Floats, sigma: np.float32, most: int, mirrored: bool, padded: Shorts, halfway: Shorts) -> None:
    """Blur the planes. Weights reach at most `most` pixels to each side; beyond the edge is the mirrored image, or black."""
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


@subroutine
def gaussian(sigma: np.float32, most: int) -> Shorts:
    """Return half the weight of the middle, and the weight of each distance that can change a byte.

    Distances are read in pairs, so a 0 may follow the last one.
    """
    raw = np.exp(-0.5 * (np.arange(most + 1) / float(sigma)) ** 2)
    exact = raw / (2 * raw.sum() - raw[0])
    count = np.sum(exact[1:] > 1e-5)
    weight = np.zeros(max(2, count + count % 2) + 1, np.int16)
    for k in range(1, count + 1):
        weight[k] = int(WEIGHT * exact[k] + 0.5)
    weight[0] = min(WEIGHT // 2 - np.sum(weight[1:]), 32767)
    return weight


@subroutine
def set_in(plane: Floats, reach: int, mirrored: bool, framed: Shorts) -> None:
    """Copy the plane into a frame, and fill the margins to its left and right."""
    size = len(framed) - 2 * reach
    for y in range(size):
        row = framed[reach + y]
        to_shorts(plane[y * size : (y + 1) * size], row[reach : reach + size])
        mirror(row, reach, mirrored)


@subroutine
def mirror(row: Shorts, reach: int, mirrored: bool) -> None:
    """Fill the margins with the mirrored row, without the edge pixel itself, or with black."""
    size = len(row) - 2 * reach
    for k in range(1, reach + 1):
        row[reach - k] = row[reach + min(k, size - 1)] if mirrored else 0
        row[reach + size - 1 + k] = row[reach + max(size - 1 - k, 0)] if mirrored else 0


@subroutine
def margin(framed: Shorts, reach: int, mirrored: bool) -> None:
    """Fill the margins above and below in the same way."""
    size = len(framed) - 2 * reach
    framed[:reach], framed[reach + size :] = 0, 0
    for k in range(1, reach + 1 if mirrored else 0):
        copy(framed[reach + min(k, size - 1)], framed[reach - k])
        copy(framed[reach + max(size - 1 - k, 0)], framed[reach + size - 1 + k])


@subroutine
def blur_along(framed: Shorts, apart: int, weight: Shorts, out: Shorts) -> None:
    """Blur all rows between the margins above and below. The results in the margins to the side are not used."""
    reach, wide = len(weight) - 1, len(framed)
    source, target = framed.ravel(), out.ravel()
    begin, end = reach * (wide + 1), (wide - reach) * wide - reach
    for start in range(begin, end, STRETCH):
        stop = min(start + STRETCH, end)
        blur_line(source[start - reach * apart : stop + reach * apart], apart, weight, target[start:stop])


@subroutine
def take_out(framed: Shorts, reach: int, plane: Floats) -> None:
    size = len(framed) - 2 * reach
    for y in range(size):
        to_floats(framed[reach + y, reach : reach + size], plane[y * size : (y + 1) * size])


@subroutine
def to_shorts(source: Floats, target: Shorts) -> None:
    for x in range(np.uint64(len(target))):
        target[x] = np.int16(np.int32(source[x] * WHITE + np.float32(0.5)))


@subroutine
def to_floats(source: Shorts, target: Floats) -> None:
    for x in range(np.uint64(len(target))):
        target[x] = np.float32(source[x]) * (np.float32(1) / WHITE)


@subroutine
def copy(source: Shorts, target: Shorts) -> None:
    for x in range(np.uint64(len(target))):
        target[x] = source[x]


@subroutine
def blur_line(source: Shorts, apart: int, weight: Shorts, out: Shorts) -> None:
    """out[x] = sum_k weight[|k|] source[middle + x + k apart], where middle = apart * reach of the weights."""
    middle = np.uint64(apart * (len(weight) - 1))
    first_weights(source, middle, np.uint64(apart), weight[:3], np.int16(len(weight) // 2), out)
    for k in range(3, len(weight), 2):
        more_weights(source, middle, np.uint64(k * apart), np.uint64((k + 1) * apart), weight[k : k + 2], out)


@subroutine
def first_weights(
    source: Shorts, middle: np.uint64, apart: np.uint64, weight: Shorts, lost: np.int16, out: Shorts
) -> None:
    """Each product is rounded down and loses half a unit on average; `lost` adds these again."""
    a, b, c, d = middle - apart, middle + apart, middle - apart - apart, middle + apart + apart
    w0, w1, w2 = weight[0], weight[1], weight[2]
    for x in range(np.uint64(len(out))):
        here = np.int16(lost + weighed(source[middle + x], source[middle + x], w0))
        near, far = weighed(source[a + x], source[b + x], w1), weighed(source[c + x], source[d + x], w2)
        out[x] = np.int16(here + np.int16(near + far))


@subroutine
def more_weights(
    source: Shorts, middle: np.uint64, near: np.uint64, far: np.uint64, weight: Shorts, out: Shorts
) -> None:
    a, b, c, d = middle - near, middle + near, middle - far, middle + far
    w1, w2 = weight[0], weight[1]
    for x in range(np.uint64(len(out))):
        out[x] = np.int16(out[x] + weighed(source[a + x], source[b + x], w1))
        out[x] = np.int16(out[x] + weighed(source[c + x], source[d + x], w2))


@subroutine
def weighed(x: np.int16, y: np.int16, weight: np.int16) -> np.int16:
    """Return (x + y) * weight / 65536, rounded down."""
    return np.int16((np.int32(np.int16(x + y)) * np.int32(weight)) >> 16)
