"""Antialiased bicubic resampling of a box of a picture, across first, then down.

Vectors want neighbors that are treated alike. Down a picture those are the bytes of a row; across it they are the
bytes of a column, which lie apart. So a band of eight rows at a time is laid on its side while it is still bytes,
resampled, and set upright again. What is resampled down comes out of the last few rows so made, which stay in the
first cache.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .compiling import ZERO, Bytes, Floats, aligned, clip, part

BAND = 8
LANES = 3 * BAND  # a pixel of each row of a band

Weights = tuple[NDArray[np.int64], NDArray[np.int64], Floats]
Room = tuple[Bytes, Floats, Floats, Floats, Floats]


@part
def weights_for(size: int, widest: int) -> Weights:
    """Room for a resampling along one axis: where each output begins to read, how many it reads, their weights."""
    return np.empty(size, np.int64), np.empty(size, np.int64), np.empty((size, _fours(widest)), np.float32)


@part
def _fours(n: int) -> int:
    return 4 * ((n + 3) // 4)


@part
def room_for(size: int, widest: int, width: int) -> Room:
    """What a crop writes down on its way: the lying band in bytes and in floats, and resampled; rows; outputs."""
    n = LANES * (width + _fours(widest))
    lying, levels, made = np.zeros(n, np.uint8), aligned(n), aligned(LANES * size)
    places = BAND * ((widest + BAND - 1) // BAND + 1)
    rows = aligned(places * 3 * size).reshape(places, 3 * size)
    levels[:], rows[:] = ZERO, ZERO  # what has no weight is read too
    return lying, levels, made, rows, aligned(BAND * 3 * size).reshape(BAND, 3 * size)


@part
def bicubic(start: float, extent: float, length: int, backwards: bool, unit: float, weights: Weights) -> None:
    """Antialiased bicubic weights that take [start, start + extent) of an axis of `length` to all of the output.

    Pixels beyond the box, but within the picture, count at the box's edge. The weights of an output sum up to `unit`.
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


@part
def fill(weight: Floats, x: float, step: float, n: int, unit: float) -> None:
    """n weights of a cubic from x on, a step apart; up to three more are 0, as they are used by fours."""
    total = 0.0
    for k in range(_fours(n)):
        w = cubic(x + k * step) if k < n else 0.0
        weight[k] = w
        total += w
    share = np.float32(unit / total)
    for k in range(_fours(n)):
        weight[k] *= share


@part
def cubic(x: float) -> float:
    """Keys' cubic with a = -1/2."""
    x = abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return near if x < 1 else (far if x < 2 else 0.0)


@part
def crop(flat: Bytes, start: int, width: int, down: Weights, across: Weights, room: Room, planes: Floats) -> None:
    """Resample the picture into the planes, a band of its rows at a time; a row is made once all it reads is there."""
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


@part
def resample_band(
    flat: Bytes, start: int, width: int, top: int, last: int, across: Weights, room: Room, band: Floats
) -> None:
    """The rows from `top` on, resampled across."""
    lying, levels, made, _, _ = room
    first, count, _ = across
    begin, size = min(first[0], first[-1]), len(first)
    n = 3 * (max(first[0] + count[0], first[-1] + count[-1]) - begin)
    lay(flat, start + 3 * begin, 3 * width, top, last, n, lying)
    as_floats(lying, BAND * n, levels)
    resample_across(levels, begin, across, made)
    set_upright(made, size, band)


@part
def lay(flat: Bytes, start: int, stride: int, top: int, last: int, n: int, lying: Bytes) -> None:
    """lying[x, row] = the band's row at x, for n neighboring bytes x; below the last row it is repeated."""
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


@part
def as_floats(values: Bytes, n: int, floats: Floats) -> None:
    for x in range(np.uint64(n)):
        floats[x] = np.float32(values[x])


@part
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


@part
def set_upright(made: Floats, size: int, rows: Floats) -> None:
    """rows[row, x] = made[x, row], for the band's rows one behind the other."""
    n = np.uint64(3 * size)
    b, c, d, e = n, n + n, np.uint64(3) * n, np.uint64(4) * n
    f, g, h = np.uint64(5) * n, np.uint64(6) * n, np.uint64(7) * n
    for x in range(n):
        o = x * np.uint64(8)
        rows[x], rows[b + x] = made[o], made[o + np.uint64(1)]
        rows[c + x], rows[d + x] = made[o + np.uint64(2)], made[o + np.uint64(3)]
        rows[e + x], rows[f + x] = made[o + np.uint64(4)], made[o + np.uint64(5)]
        rows[g + x], rows[h + x] = made[o + np.uint64(6)], made[o + np.uint64(7)]


@part
def resample_down(rows: Floats, o: int, down: Weights, line: Floats) -> None:
    """line = sum_k weight[o, k] rows[first[o] + k]; a row's place is what is left of it by the number of places."""
    first, count, weight = down
    wide, places, flat = np.uint64(len(line)), np.uint64(len(rows)), rows.ravel()
    for k in range(0, count[o], 4):
        row = np.uint64(first[o] - first[0] + k)
        a, b = wide * (row % places), wide * ((row + np.uint64(1)) % places)
        c, d = wide * ((row + np.uint64(2)) % places), wide * ((row + np.uint64(3)) % places)
        add_rows(flat, a, b, c, d, weight, np.uint64(o), np.uint64(k), line)


@part
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
    """Four rows of the flat ones, with their weights; the first four begin the sum."""
    w0, w1 = weight[o, k], weight[o, k + np.uint64(1)]
    w2, w3 = weight[o, k + np.uint64(2)], weight[o, k + np.uint64(3)]
    for x in range(np.uint64(len(line))):
        so_far = ZERO if k == 0 else line[x]
        line[x] = so_far + ((w0 * rows[a + x] + w1 * rows[b + x]) + (w2 * rows[c + x] + w3 * rows[d + x]))


@part
def keep(lines: Floats, planes: Floats, begin: int, end: int) -> None:
    """Rows from begin to end, in planes, clipped to [0, 1]: a cubic overshoots."""
    size = np.uint64(math.sqrt(planes.shape[1]))
    flat, r = planes.ravel(), np.uint64(begin) * size
    g, b = r + size * size, r + np.uint64(2) * size * size
    for x in range(np.uint64(end - begin) * size):
        o = x * np.uint64(3)
        flat[r + x] = clip(lines[o])
        flat[g + x] = clip(lines[o + np.uint64(1)])
        flat[b + x] = clip(lines[o + np.uint64(2)])
