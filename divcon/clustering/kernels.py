"""Compiled loops over rows: low precision proposes, and what it can't tell apart is decided.

What only proposes is `quick`: its additions may be done in any order, as a bound on their rounding is part of what is
proposed. What decides is `compiled`: it adds up in an order that depends on no thread and no vector width; in float64
where centroids compete for a row, in float32 where rows compete for a place among neighbors.

A row counts as x * inverse, rounded to float32: `inverse` is one over its length, or 1. Inner functions are given a matrix
and the number of a row, and no slice of it: to make one, threads would take turns at a count of its users.
It is all one file, as numba looks at the file of the function called, and at no other, to see what is out of date.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, Shaped, UInt16
from numpy.typing import NDArray

from ..data.views.kernel import compiled

quick = functools.partial(compiled, fastmath={"reassoc", "contract", "nsz", "nnan"})

LANES = 32  # sums side by side, so that no addition waits for the one before it
EIGHT = 8
GROUP = np.uint64(64)
PART = 4096  # rows of the bank that a cache has room for
ZERO = np.float32(0)
SIGN, MAGNITUDE = np.int32(31), np.int32(0x7FFFFFFF)

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Lanes = Floats | Doubles
Bits = NDArray[np.unsignedinteger]
Numbers = NDArray[np.int64]


class Proposed(NamedTuple):
    """Low-precision products of rows with points: their bits, to be shifted to have those of a float32; the share of
    itself that each may be off by; and what each row's may be off by for each unit of the point's length."""

    products: Shaped[np.ndarray, "b k"]
    shift: int
    loss: np.float32
    slack: Float32[np.ndarray, " b"]


class Margins(NamedTuple):
    """Of each point: what is added to its products to make a score, its length, and what else a score may be off by."""

    offset: Float32[np.ndarray, " k"]
    length: Float32[np.ndarray, " k"]
    spare: Float32[np.ndarray, " k"]


class Lists(NamedTuple):
    """For each query the rows of the bank that may be among the nearest, what their cosines are at least and at most,
    how many there are, and the bottom: only what may reach it is put on the list."""

    least: Float32[np.ndarray, "q room"]
    most: Float32[np.ndarray, "q room"]
    rows: Int32[np.ndarray, "q room"]
    filled: Int64[np.ndarray, " q"]
    bottom: Float32[np.ndarray, " q"]


# Exact sums


@compiled
def fold(lanes: Lanes) -> float:
    """The sum of the first LANES numbers, by halves."""
    width = LANES // 2
    while width:
        for i in range(width):
            lanes[i] += lanes[i + width]
        width //= 2
    return float(lanes[0])


@compiled
def squared_length(x: Floats, i: int, lanes: Doubles) -> float:
    lanes[:] = 0.0
    whole = x.shape[1] // LANES * LANES
    for start in range(0, whole, LANES):
        for j in range(LANES):
            lanes[j] += np.float64(x[i, start + j]) * np.float64(x[i, start + j])
    for j in range(whole, x.shape[1]):
        lanes[j - whole] += np.float64(x[i, j]) * np.float64(x[i, j])
    return float(fold(lanes))


@compiled
def squared_distance(x: Floats, i: int, inverse: np.float32, points: Floats, c: int, lanes: Doubles) -> float:
    lanes[:] = 0.0
    whole = x.shape[1] // LANES * LANES
    for start in range(0, whole, LANES):
        for j in range(LANES):
            apart = np.float64(x[i, start + j] * inverse) - np.float64(points[c, start + j])
            lanes[j] += apart * apart
    for j in range(whole, x.shape[1]):
        apart = np.float64(x[i, j] * inverse) - np.float64(points[c, j])
        lanes[j - whole] += apart * apart
    return float(fold(lanes))


@compiled
def dot(a: Floats, q: int, x: Floats, i: int, inverse: np.float32, lanes: Floats) -> np.float32:
    """In float32, by twice as many lanes."""
    lanes[:] = ZERO
    whole = x.shape[1] // (2 * LANES) * (2 * LANES)
    for start in range(0, whole, 2 * LANES):
        for j in range(2 * LANES):
            lanes[j] += a[q, start + j] * (x[i, start + j] * inverse)
    for j in range(whole, x.shape[1]):
        lanes[j - whole] += a[q, j] * (x[i, j] * inverse)
    for j in range(LANES):
        lanes[j] += lanes[j + LANES]
    return np.float32(fold(lanes))


@compiled
def squared_lengths(x: Float32[np.ndarray, "b d"], out: Float64[np.ndarray, " b"]) -> None:
    lanes = np.empty(LANES)
    for i in range(len(x)):
        out[i] = squared_length(x, i, lanes)


@compiled
def squared_distances(
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    points: Float32[np.ndarray, "k d"],
    labels: Int64[np.ndarray, " b"],
    out: Float64[np.ndarray, " b"],
) -> None:
    """How far each row is from the point that its label names."""
    lanes = np.empty(LANES)
    for i in range(len(x)):
        out[i] = squared_distance(x, i, inverse[i], points, labels[i], lanes)


@compiled
def move(
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    before: Int64[np.ndarray, " b"],
    after: Int64[np.ndarray, " b"],
    scale: np.float32,
    total: Int64[np.ndarray, "k d"],
) -> int:
    """Take the rows whose label changed from the sum of the one (none if it was -1) to that of the other. How many."""
    moved = 0
    for i in range(len(x)):
        if before[i] != after[i]:
            moved += 1
            add(x, i, inverse[i] * scale, total, after[i], 1)
            if before[i] >= 0:
                add(x, i, inverse[i] * scale, total, before[i], -1)
    return moved


@compiled
def add(x: Floats, i: int, scale: np.float32, total: Numbers, c: int, sign: int) -> None:
    for j in range(x.shape[1]):
        total[c, j] += sign * np.int64(np.rint(x[i, j] * scale))


# Low precision


@compiled
def lower_to_bf16(
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    origin: Float32[np.ndarray, " d"],
    scale: np.float32,
    low: UInt16[np.ndarray, "b d"],
    lengths: Float32[np.ndarray, " b"],
    residues: Float32[np.ndarray, " b"],
) -> None:
    """(x - origin) * scale in bfloat16, the bits of it; how long each was, and how long what it lost is."""
    line, lost = np.empty((1, x.shape[1]), np.float32), np.empty((1, x.shape[1]), np.float32)
    bits, kept = line.view(np.uint32), lost.view(np.uint32)
    for i in range(len(x)):
        shift_row(x, i, inverse[i], origin, scale, line, 0)
        round_row(bits, low, i, kept)
        for j in range(x.shape[1]):
            lost[0, j] = line[0, j] - lost[0, j]
        lengths[i], residues[i] = length_of(line, 0), length_of(lost, 0)


@compiled
def lower_to_fp32(
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    origin: Float32[np.ndarray, " d"],
    scale: np.float32,
    low: Float32[np.ndarray, "b d"],
    lengths: Float32[np.ndarray, " b"],
) -> None:
    """The same in float32, where nothing is lost but the rounding that every bound allows for."""
    for i in range(len(x)):
        shift_row(x, i, inverse[i], origin, scale, low, i)
        lengths[i] = length_of(low, i)


@compiled
def shift_row(x: Floats, i: int, inverse: np.float32, origin: Floats, scale: np.float32, out: Floats, o: int) -> None:
    """(row - origin) * scale, where the row counts as x * inverse, rounded: no multiplying and adding in one."""
    for j in range(x.shape[1]):
        out[o, j] = (x[i, j] * inverse - origin[j]) * scale


@compiled
def round_row(bits: Bits, low: Bits, i: int, kept: Bits) -> None:
    """The bits of the nearest bfloat16, of two the even one; the same again as those of a float32."""
    half, one, sixteen = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)
    for j in range(bits.shape[1]):
        top = (bits[0, j] + half + ((bits[0, j] >> sixteen) & one)) >> sixteen
        low[i, j] = np.uint16(top)
        kept[0, j] = top << sixteen


@quick
def length_of(x: Floats, i: int) -> np.float32:
    total = ZERO
    for j in range(x.shape[1]):
        total += x[i, j] * x[i, j]
    return np.float32(np.sqrt(total))


@quick
def widen(bits: Bits, i: int, shift: int, wide: Bits) -> None:
    """The bits of floats from the upper ones of them: all 32 (a shift of 0), or the 16 of a bfloat16."""
    for j in range(bits.shape[1]):
        wide[j] = np.uint32(bits[i, j]) << np.uint32(shift)


@quick
def bounds(
    offset: Floats, length: Floats, spare: Floats, slack: np.float32, loss: np.float32, lower: Floats, upper: Floats
) -> None:
    """What each score of a row is at least and at most; `upper` holds its products."""
    for c in range(len(upper)):
        score = upper[c] + offset[c]
        error = slack * length[c] + spare[c] + loss * abs(upper[c])
        lower[c] = score - error
        upper[c] = score + error


@quick
def largest(bits: NDArray[np.int32]) -> np.int32:
    """The largest of some floats, by their bits as integers in the same order: only these are compared by vectors."""
    best = np.int32(-(2**31))
    for c in range(np.uint64(len(bits))):
        key = np.int32(bits[c] ^ ((bits[c] >> SIGN) & MAGNITUDE))
        best = key if key > best else best
    return np.int32(best ^ ((best >> SIGN) & MAGNITUDE))


@quick
def candidates(upper: Floats, least: np.float32, where: Numbers) -> int:
    """The places in `upper` that are not under `least`, in order, go to `where`; how many. They are few, so only where
    some of GROUP are is each looked at; and without a branch, as none could be foretold."""
    found, k = np.uint64(0), np.uint64(len(upper))
    for start in range(np.uint64(0), k, GROUP):
        hits, end = np.int32(0), min(start + GROUP, k)
        for c in range(start, end):
            hits += np.int32(1) if upper[c] >= least else np.int32(0)
        for c in range(start, end if hits else start):
            where[found] = c
            found += np.uint64(1) if upper[c] >= least else np.uint64(0)
    return int(found)


# The nearest of some centroids


@quick
def decide(
    proposed: Proposed,
    points: Margins,
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    centroids: Float32[np.ndarray, "k d"],
    labels: Int64[np.ndarray, " b"],
) -> None:
    """The label of each row's nearest centroid."""
    products, shift, loss, slack = proposed
    offset, length, spare = points
    k, lanes, where = len(centroids), np.empty(LANES), np.empty(len(centroids), np.int64)
    lower, upper, best = np.empty(k, np.float32), np.empty(k, np.float32), np.empty(1, np.float32)
    wide, order, top = upper.view(np.uint32), lower.view(np.int32), best.view(np.int32)
    for i in range(len(x)):
        widen(products, i, shift, wide)
        bounds(offset, length, spare, slack[i], loss, lower, upper)
        top[0] = largest(order)
        labels[i] = nearest_of(where, candidates(upper, best[0], where), x, i, inverse[i], centroids, lanes)


@quick
def decide_few(
    origin: Float32[np.ndarray, " d"],
    scale: np.float32,
    low: Float32[np.ndarray, "padded d"],
    slack: np.float32,
    points: Margins,
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    centroids: Float32[np.ndarray, "k d"],
    labels: Int64[np.ndarray, " b"],
) -> None:
    """The same for a few centroids, whose products with a row are made while it is at hand. Rows of zeros make `low` a
    multiple of EIGHT; `slack` is for each unit of the row's length too."""
    offset, length, spare = points
    k, lanes, where = len(low), np.empty(LANES), np.empty(len(low), np.int64)
    lower, upper, best = np.empty(k, np.float32), np.empty(k, np.float32), np.empty(1, np.float32)
    order, top, line = lower.view(np.int32), best.view(np.int32), np.empty((1, x.shape[1]), np.float32)
    for i in range(len(x)):
        shift_row(x, i, inverse[i], origin, scale, line, 0)
        products_of(line, low, upper)
        bounds(offset, length, spare, slack * length_of(line, 0), ZERO, lower, upper)
        top[0] = largest(order)
        labels[i] = nearest_of(where, candidates(upper, best[0], where), x, i, inverse[i], centroids, lanes)


@quick
def products_of(line: Floats, low: Floats, out: Floats) -> None:
    """line . low[c] for all c, EIGHT at a time: an entry of the line is fetched once for them, and no addition waits for
    the one before it."""
    for c in range(0, len(low), EIGHT):
        s0, s1, s2, s3, s4, s5, s6, s7 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        for j in range(line.shape[1]):
            x = line[0, j]
            s0, s1 = s0 + x * low[c, j], s1 + x * low[c + 1, j]
            s2, s3 = s2 + x * low[c + 2, j], s3 + x * low[c + 3, j]
            s4, s5 = s4 + x * low[c + 4, j], s5 + x * low[c + 5, j]
            s6, s7 = s6 + x * low[c + 6, j], s7 + x * low[c + 7, j]
        out[c], out[c + 1], out[c + 2], out[c + 3] = s0, s1, s2, s3
        out[c + 4], out[c + 5], out[c + 6], out[c + 7] = s4, s5, s6, s7


@compiled
def nearest_of(
    where: Numbers, found: int, x: Floats, i: int, inverse: np.float32, centroids: Floats, lanes: Doubles
) -> int:
    """Which of some centroids is nearest: of one, that one; of more, by exact distances, the first of equals."""
    nearest, least = where[0], np.inf
    for n in range(found if found > 1 else 0):
        far = squared_distance(x, i, inverse, centroids, where[n], lanes)
        if far < least:
            nearest, least = where[n], far
    return int(nearest)


# The nearest rows of a bank


@quick
def guess(
    proposed: Proposed, points: Margins, base: Float32[np.ndarray, " q"], rank: int, bottom: Float32[np.ndarray, " q"]
) -> None:
    """Begin each query's bottom at what the cosine of the row of this rank, in a sample of the bank, is at least."""
    products, shift, loss, slack = proposed
    offset, length, spare = points
    lower, upper = np.empty(len(offset), np.float32), np.empty(len(offset), np.float32)
    wide = upper.view(np.uint32)
    for i in range(len(bottom)):
        widen(products, i, shift, wide)
        bounds(offset, length, spare, slack[i], loss, lower, upper)
        bottom[i] = kth_largest(lower, len(lower), rank) + base[i]


@quick
def collect(
    proposed: Proposed,
    points: Margins,
    base: Float32[np.ndarray, " q"],
    first: int,
    k: int,
    queries: Float32[np.ndarray, "q d"],
    bank: Float32[np.ndarray, "n d"],
    inverse: Float32[np.ndarray, " n"],
    lists: Lists,
) -> None:
    """Add to each query's list those rows of a block of the bank, which begins at row `first`, that may be among the k
    nearest."""
    products, shift, loss, slack = proposed
    offset, length, spare = points
    least, most, rows, filled, bottom = lists
    lanes, scratch = np.empty(2 * LANES, np.float32), np.empty(rows.shape[1], np.float32)
    lower, upper, where = (
        np.empty(len(offset), np.float32),
        np.empty(len(offset), np.float32),
        np.empty(len(offset), np.int64),
    )
    wide = upper.view(np.uint32)
    for i in range(len(queries)):
        widen(products, i, shift, wide)
        bounds(offset, length, spare, slack[i], loss, lower, upper)
        for hit in range(candidates(upper, bottom[i] - base[i], where)):
            c, n = where[hit], filled[i]
            if upper[c] + base[i] >= bottom[i]:
                least[i, n], most[i, n], rows[i, n] = lower[c] + base[i], upper[c] + base[i], first + c
                filled[i] = n + 1
                if n + 1 == rows.shape[1]:
                    make_room(least, most, rows, filled, bottom, i, k, scratch, queries, bank, inverse, lanes)


@compiled
def make_room(
    least: Floats,
    most: Floats,
    rows: NDArray[np.int32],
    filled: Numbers,
    bottom: Floats,
    i: int,
    k: int,
    scratch: Floats,
    queries: Floats,
    bank: Floats,
    inverse: Floats,
    lanes: Floats,
) -> None:
    """Cut a list down to those that may still be among the nearest; if more than half are left, to those that are."""
    bottom[i] = max(bottom[i], kth_of_list(least, i, filled[i], k, scratch))
    cut(least, most, rows, filled, bottom, i)
    if filled[i] > rows.shape[1] // 2:
        settle(least, most, rows, filled, i, k, queries, bank, inverse, lanes)
        bottom[i] = max(bottom[i], least[i, k - 1])


@compiled
def cut(least: Floats, most: Floats, rows: NDArray[np.int32], filled: Numbers, bottom: Floats, i: int) -> None:
    """Keep, in their order, the entries that may reach the bottom."""
    kept = 0
    for c in range(filled[i]):
        least[i, kept], most[i, kept], rows[i, kept] = least[i, c], most[i, c], rows[i, c]
        kept += most[i, c] >= bottom[i]
    filled[i] = kept


@compiled
def kth_of_list(least: Floats, i: int, n: int, k: int, scratch: Floats) -> np.float32:
    for c in range(n):
        scratch[c] = least[i, c]
    return np.float32(kth_largest(scratch, n, k))


@compiled
def kth_largest(values: Floats, n: int, k: int) -> np.float32:
    """Of the first n, which change places: Hoare's quickselect."""
    first, last = 0, n - 1
    while first < last:
        middle, i, j = values[(first + last) // 2], first, last
        while i <= j:
            while values[i] > middle:
                i += 1
            while values[j] < middle:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        first, last = (first, j) if k - 1 <= j else (i, last) if k - 1 >= i else (k - 1, k - 1)
    return np.float32(values[k - 1])


@compiled
def settle(
    least: Floats,
    most: Floats,
    rows: NDArray[np.int32],
    filled: Numbers,
    i: int,
    k: int,
    queries: Floats,
    bank: Floats,
    inverse: Floats,
    lanes: Floats,
) -> None:
    """Keep the k entries of a list that are nearest."""
    for c in range(filled[i]):
        least[i, c] = dot(queries, i, bank, rows[i, c], inverse[rows[i, c]], lanes)
    order(least, most, rows, filled, i, k)


@compiled
def order(least: Floats, most: Floats, rows: NDArray[np.int32], filled: Numbers, i: int, k: int) -> None:
    """Keep the k best, best first, of equals those of the lower row.

    One integer holds both: above, how far down the order of the floats the cosine is; below, the row.
    """
    keys, bits, thirty_two = np.empty(filled[i], np.int64), least.view(np.int32), np.int64(32)
    for c in range(filled[i]):
        key = ~(bits[i, c] ^ ((bits[i, c] >> SIGN) & MAGNITUDE))
        keys[c] = (np.int64(key) << thirty_two) | np.int64(rows[i, c])
    keys.sort()
    for c in range(k):
        key = ~np.int32(keys[c] >> thirty_two)
        bits[i, c], rows[i, c] = key ^ ((key >> SIGN) & MAGNITUDE), np.int32(keys[c])
        most[i, c] = least[i, c]
    filled[i] = k


@compiled
def settle_all(
    lists: Lists,
    k: int,
    queries: Float32[np.ndarray, "q d"],
    bank: Float32[np.ndarray, "n d"],
    inverse: Float32[np.ndarray, " n"],
    sure: Bool[np.ndarray, " q"],
) -> None:
    """Bring every list to its k nearest, best first. One is sure to hold them if k rows are sure to reach its bottom: what
    was left out is under that.

    Part by part of the bank, so that a row which is far down in memory is fetched once for all lists that it is on.
    """
    least, most, rows, filled, bottom = lists
    lanes, scratch = np.empty(2 * LANES, np.float32), np.empty(rows.shape[1], np.float32)
    for i in range(len(queries)):
        kth = kth_of_list(least, i, filled[i], k, scratch) if filled[i] >= k else np.float32(-np.inf)
        sure[i], bottom[i] = filled[i] >= k and kth >= bottom[i], max(bottom[i], kth)
        if sure[i]:
            cut(least, most, rows, filled, bottom, i)
    for start in range(0, len(bank), PART):
        for i in range(len(queries)):
            for c in range(filled[i] if sure[i] else 0):
                if start <= rows[i, c] < start + PART:
                    least[i, c] = dot(queries, i, bank, rows[i, c], inverse[rows[i, c]], lanes)
    for i in range(len(queries)):
        if sure[i]:
            order(least, most, rows, filled, i, k)
