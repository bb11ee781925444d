"""Antialiased bicubic resampling of a box of an image, across first, then down.

Vector instructions treat neighbors in memory alike. For resampling down, these are the bytes of a row. For resampling
across, they would be the bytes of a column, which are not neighbors. So bands of eight rows are transposed as bytes,
resampled, and transposed back. Resampling down reads the last few rows made in this way, which stay in the first
cache.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .compiling import ZERO, Bytes, Floats, aligned, clip, subroutine

BAND = 8
LANES = 3 * BAND  # a pixel of each row of a band

Weights = tuple[NDArray[np.int64], NDArray[np.int64], Floats]
Room = tuple[Bytes, Floats, Floats, Floats, Floats]


@subroutine
def weights_for(size: int, widest: int) -> Weights:
    """Return arrays for a resampling along one axis: the first input of each output, the number of inputs, their weights."""
    return np.empty(size, np.int64), np.empty(size, np.int64), np.empty((size, _fours(widest)), np.float32)


@subroutine
def _fours(n: int) -> int:
    return 4 * ((n + 3) // 4)


@subroutine
def room_for(size: int, widest: int, width: int) -> Room:
    """Return the buffers of a crop: the transposed band in bytes, in floats, and resampled; rows; output rows."""
    n = LANES * (width + _fours(widest))
    lying, levels, made = np.zeros(n, np.uint8), aligned(n), aligned(LANES * size)
    places = BAND * ((widest + BAND - 1) // BAND + 1)
    rows = aligned(places * 3 * size).reshape(places, 3 * size)
    levels[:], rows[:] = ZERO, ZERO  # inputs with weight 0 are read too
    return lying, levels, made, rows, aligned(BAND * 3 * size).reshape(BAND, 3 * size)


@subroutine
def bicubic(start: float, extent: float, length: int, backwards: bool, unit: float, weights: Weights) -> None:
    """Compute the weights that resample [start, start + extent) of an axis of `length` to the whole output.

    Pixels outside the box, but inside the image, count at the edge of the box. The weights of an output sum to `unit`.
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
        fill(weight[row], (begin + 0.5 - middle) * shrink, shrink, end - begin, unit)


@subroutine
def fill(weight: Floats, x: float, step: float, n: int, unit: float) -> None:
    """Compute n weights of a cubic from x on, a step apart; up to three zeros follow, because weights are read by fours."""
    total = 0.0
    for k in range(_fours(n)):
        w = cubic(x + k * step) if k < n else 0.0
        weight[k] = w
        total += w
    share = np.float32(unit / total)
    for k in range(_fours(n)):
        weight[k] *= share


@subroutine
def cubic(x: float) -> float:
    """Return Keys' cubic with a = -1/2 at x."""
    x = abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return near if x < 1 else (far if x < 2 else 0.0)


@subroutine
def crop(flat: Bytes, start: int, width: int, down: Weights, across: Weights, room: Room, planes: Floats) -> None:
    """Resample the image into the planes, band by band; an output row is made when all its inputs are there."""
    rows, lines = room[3], room[4]
    first, count, _ = down
    size, last = len(first), first[-1] + count[-1]
    done = 0
    for top in range(first[0], last, BAND):
        place = (top - first[0]) % len(rows)
        resample_band(flat, start, width, top, last - 1, across, room, rows[place : place + BAND].ravel())
        while done < size and first[done] + count[done] <= top + BAND:
            resample_down(rows, done, down, lines[done % BAND])
            done += 1
            if done % BAND == 0 or done == size:
                keep(lines.ravel(), planes, done - 1 - (done - 1) % BAND, done)


@subroutine
def resample_band(
    flat: Bytes, start: int, width: int, top: int, last: int, across: Weights, room: Room, band: Floats
) -> None:
    """Resample the band of rows from `top` on across, into `band`."""
    lying, levels, made, _, _ = room
    first, count, _ = across
    begin, size = min(first[0], first[-1]), len(first)
    n = 3 * (max(first[0] + count[0], first[-1] + count[-1]) - begin)
    lay(flat, start + 3 * begin, 3 * width, top, last, n, lying)
    as_floats(lying, BAND * n, levels)
    resample_across(levels, begin, across, made)
    set_upright(made, size, band)


@subroutine
def lay(flat: Bytes, start: int, stride: int, top: int, last: int, n: int, lying: Bytes) -> None:
    """Transpose: lying[x, row] = the band's row at x, for n neighboring bytes x; the last row is repeated below it."""
    a = np.uint64(start + top * stride)
    b, c, d, e, f, g, h = (
        np.uint64(start + min(top + 1, last) * stride),
        np.uint64(start + min(top + 2, last) * stride),
        np.uint64(start + min(top + 3, last) * stride),
        np.uint64(start + min(top + 4, last) * stride),
        np.uint64(start + min(top + 5, last) * stride),
        np.uint64(start + min(top + 6, last) * stride),
        np.uint64(start + min(top + 7, last) * stride),
    )
    for x in range(np.uint64(n)):
        o = x * np.uint64(8)
        lying[o], lying[o + np.uint64(1)] = flat[a + x], flat[b + x]
        lying[o + np.uint64(2)], lying[o + np.uint64(3)] = flat[c + x], flat[d + x]
        lying[o + np.uint64(4)], lying[o + np.uint64(5)] = flat[e + x], flat[f + x]
        lying[o + np.uint64(6)], lying[o + np.uint64(7)] = flat[g + x], flat[h + x]


@subroutine
def as_floats(values: Bytes, n: int, floats: Floats) -> None:
    for x in range(np.uint64(n)):
        floats[x] = np.float32(values[x])


@subroutine
def resample_across(levels: Floats, begin: int, across: Weights, made: Floats) -> None:
    """made[o] = sum_k weight[o, k] levels[first[o] + k - begin], for all rows of the band at once."""
    first, count, weight = across
    for o in range(np.uint64(len(first))):
        for k in range(np.uint64(0), np.uint64(count[o]), np.uint64(4)):
            a = np.uint64(LANES) * (np.uint64(first[o] - begin) + k)
            b, c, d = a + np.uint64(LANES), a + np.uint64(2 * LANES), a + np.uint64(3 * LANES)
            w0, w1, w2, w3 = (
                weight[o, k],
                weight[o, k + np.uint64(1)],
                weight[o, k + np.uint64(2)],
                weight[o, k + np.uint64(3)],
            )
            for x in range(np.uint64(LANES)):
                low, high = w0 * levels[a + x] + w1 * levels[b + x], w2 * levels[c + x] + w3 * levels[d + x]
                so_far = ZERO if k == 0 else made[np.uint64(LANES) * o + x]
                made[np.uint64(LANES) * o + x] = so_far + (low + high)


@subroutine
def set_upright(made: Floats, size: int, rows: Floats) -> None:
    """Transpose back: rows[row, x] = made[x, row], for the rows of the band."""
    n = np.uint64(3 * size)
    b, c, d, e = n, n + n, np.uint64(3) * n, np.uint64(4) * n
    f, g, h = np.uint64(5) * n, np.uint64(6) * n, np.uint64(7) * n
    for x in range(n):
        o = x * np.uint64(8)
        rows[x], rows[b + x] = made[o], made[o + np.uint64(1)]
        rows[c + x], rows[d + x] = made[o + np.uint64(2)], made[o + np.uint64(3)]
        rows[e + x], rows[f + x] = made[o + np.uint64(4)], made[o + np.uint64(5)]
        rows[g + x], rows[h + x] = made[o + np.uint64(6)], made[o + np.uint64(7)]


@subroutine
def resample_down(rows: Floats, o: int, down: Weights, line: Floats) -> None:
    """line = sum_k weight[o, k] rows[first[o] + k]; the buffer is a ring: row r is at r modulo the number of places."""
    first, count, weight = down
    wide, places, flat = np.uint64(len(line)), np.uint64(len(rows)), rows.ravel()
    for k in range(0, count[o], 4):
        row = np.uint64(first[o] - first[0] + k)
        a, b = wide * (row % places), wide * ((row + np.uint64(1)) % places)
        c, d = wide * ((row + np.uint64(2)) % places), wide * ((row + np.uint64(3)) % places)
        add_rows(flat, a, b, c, d, weight, np.uint64(o), np.uint64(k), line)


@subroutine
def add_rows(
    rows: Floats,
    a: np.uint64,
    b: np.uint64,
    c: np.uint64,
    d: np.uint64,
    weight: Floats,
    o: np.uint64,
    k: np.uint64,
    line: Floats,
) -> None:
    """Add four weighted rows, which begin at a, b, c and d; the first four (k = 0) begin the sum."""
    w0, w1 = weight[o, k], weight[o, k + np.uint64(1)]
    w2, w3 = weight[o, k + np.uint64(2)], weight[o, k + np.uint64(3)]
    for x in range(np.uint64(len(line))):
        so_far = ZERO if k == 0 else line[x]
        line[x] = so_far + ((w0 * rows[a + x] + w1 * rows[b + x]) + (w2 * rows[c + x] + w3 * rows[d + x]))


@subroutine
def keep(lines: Floats, planes: Floats, begin: int, end: int) -> None:
    """Copy output rows from begin to end into the planes, clipped to [0, 1]: a cubic overshoots."""
    size = np.uint64(math.sqrt(planes.shape[1]))
    flat, r = planes.ravel(), np.uint64(begin) * size
    g, b = r + size * size, r + np.uint64(2) * size * size
    for x in range(np.uint64(end - begin) * size):
        o = x * np.uint64(3)
        flat[r + x] = clip(lines[o])
        flat[g + x] = clip(lines[o + np.uint64(1)])
        flat[b + x] = clip(lines[o + np.uint64(2)])
