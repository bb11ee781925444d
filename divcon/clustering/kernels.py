"""Compiled loops over rows: low precision proposes, float64 decides.

What only proposes is `quick`: its additions may be done in any order, as a bound on their rounding is part of what is
proposed. What decides is `compiled`: it adds up in an order that depends on no thread and no vector width.

A row counts as x * inverse, rounded to float32: `inverse` is one over its length, or 1.
It is all one file, as numba looks at the file of the function called, and at no other, to see what is out of date.
"""

from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, Shaped, UInt16
from numpy.typing import NDArray

from ..data.kernel import compiled

quick = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "nnan"}, boundscheck=False
)

LANES = 32  # sums side by side, so that no addition waits for the one before it
PART = 2048  # rows of the bank that a cache has room for

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@compiled
def fold(lanes: Doubles) -> float:
    """The sum of LANES numbers, by halves."""
    width = LANES // 2
    while width:
        for i in range(width):
            lanes[i] += lanes[i + width]
        width //= 2
    return float(lanes[0])


@compiled
def squared_length(row: Floats, lanes: Doubles) -> float:
    lanes[:] = 0.0
    whole = len(row) // LANES * LANES
    for start in range(0, whole, LANES):
        for i in range(LANES):
            lanes[i] += np.float64(row[start + i]) * np.float64(row[start + i])
    for j in range(whole, len(row)):
        lanes[j - whole] += np.float64(row[j]) * np.float64(row[j])
    return float(fold(lanes))


@compiled
def squared_distance(row: Floats, inverse: np.float32, point: Floats, lanes: Doubles) -> float:
    lanes[:] = 0.0
    whole = len(row) // LANES * LANES
    for start in range(0, whole, LANES):
        for i in range(LANES):
            apart = np.float64(row[start + i] * inverse) - np.float64(point[start + i])
            lanes[i] += apart * apart
    for j in range(whole, len(row)):
        apart = np.float64(row[j] * inverse) - np.float64(point[j])
        lanes[j - whole] += apart * apart
    return float(fold(lanes))


@compiled
def dot(a: Floats, row: Floats, inverse: np.float32, lanes: Doubles) -> float:
    lanes[:] = 0.0
    whole = len(row) // LANES * LANES
    for start in range(0, whole, LANES):
        for i in range(LANES):
            lanes[i] += np.float64(a[start + i]) * np.float64(row[start + i] * inverse)
    for j in range(whole, len(row)):
        lanes[j - whole] += np.float64(a[j]) * np.float64(row[j] * inverse)
    return float(fold(lanes))


@compiled
def squared_lengths(x: Float32[np.ndarray, "b d"], out: Float64[np.ndarray, " b"]) -> None:
    lanes = np.empty(LANES)
    for i in range(len(x)):
        out[i] = squared_length(x[i], lanes)


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
        out[i] = squared_distance(x[i], inverse[i], points[labels[i]], lanes)


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
            add(x[i], inverse[i] * scale, total[after[i]], 1)
            if before[i] >= 0:
                add(x[i], inverse[i] * scale, total[before[i]], -1)
    return moved


@compiled
def add(row: Floats, scale: np.float32, total: NDArray[np.int64], sign: int) -> None:
    for j in range(len(row)):
        total[j] += sign * np.int64(np.rint(row[j] * scale))


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
    line, lost = np.empty(x.shape[1], np.float32), np.empty(x.shape[1], np.float32)
    for i in range(len(x)):
        shift_row(x[i], inverse[i], origin, scale, line)
        round_row(line, low[i], lost)
        lengths[i], residues[i] = length_of(line), length_of(lost)


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
        shift_row(x[i], inverse[i], origin, scale, low[i])
        lengths[i] = length_of(low[i])


@compiled
def shift_row(row: Floats, inverse: np.float32, origin: Floats, scale: np.float32, line: Floats) -> None:
    """line = (row - origin) * scale, where the row counts as x * inverse, rounded: no multiplying and adding in one."""
    for j in range(len(row)):
        line[j] = (row[j] * inverse - origin[j]) * scale


@quick
def length_of(line: Floats) -> np.float32:
    total = np.float32(0)
    for j in range(len(line)):
        total += line[j] * line[j]
    return np.float32(np.sqrt(total))


@quick
def round_row(line: Floats, low: NDArray[np.uint16], lost: Floats) -> None:
    """The bits of the nearest bfloat16, of two the even one, and what that leaves."""
    bits, kept = line.view(np.uint32), lost.view(np.uint32)
    half, one, sixteen = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)
    for j in range(len(line)):
        top = (bits[j] + half + ((bits[j] >> sixteen) & one)) >> sixteen
        low[j] = np.uint16(top)
        kept[j] = top << sixteen
    for j in range(len(line)):
        lost[j] = line[j] - lost[j]


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
    k, lanes = len(centroids), np.empty(LANES)
    lower, upper, where = np.empty(k, np.float32), np.empty(k, np.float32), np.empty(k, np.int64)
    for i in range(len(x)):
        bounds(proposed, i, points, lower, upper)
        labels[i] = nearest_of(candidates(upper, largest(lower), where), x[i], inverse[i], centroids, lanes)


@quick
def widen(bits: NDArray[np.unsignedinteger], shift: int, out: Floats) -> None:
    """Floats from the upper bits of them: all 32 (a shift of 0), or the 16 of a bfloat16."""
    wide = out.view(np.uint32)
    for j in range(len(bits)):
        wide[j] = np.uint32(bits[j]) << np.uint32(shift)


@quick
def bounds(proposed: Proposed, i: int, points: Margins, lower: Floats, upper: Floats) -> None:
    """What each score of row i is at least and at most."""
    widen(proposed.products[i], proposed.shift, upper)
    slack, loss = proposed.slack[i], proposed.loss
    offset, length, spare = points.offset, points.length, points.spare
    for c in range(len(upper)):
        score = upper[c] + offset[c]
        error = slack * length[c] + spare[c] + loss * abs(upper[c])
        lower[c] = score - error
        upper[c] = score + error


@quick
def largest(values: Floats) -> np.float32:
    """The largest, which takes the first place. As integers in the order of the floats: only these are compared by
    vectors."""
    bits, low = values.view(np.int32), np.int32(0x7FFFFFFF)
    best = np.int32(-(2**31))
    for c in range(np.uint64(len(bits))):
        key = np.int32(bits[c] ^ ((bits[c] >> np.int32(31)) & low))
        best = key if key > best else best
    bits[0] = best ^ ((best >> np.int32(31)) & low)
    return np.float32(values[0])


@quick
def candidates(upper: Floats, least: np.float32, where: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places in `upper` that are not under `least`, in order. Few are: they are looked for by 64."""
    found, k = np.uint64(0), np.uint64(len(upper))
    for start in range(np.uint64(0), k, np.uint64(64)):
        hits, end = np.int32(0), min(start + np.uint64(64), k)
        for c in range(start, end):
            hits += np.int32(1) if upper[c] >= least else np.int32(0)
        for c in range(start, end if hits else start):
            if upper[c] >= least:
                where[found] = c
                found += np.uint64(1)
    return where[:found]


@compiled
def nearest_of(
    where: NDArray[np.int64], row: Floats, inverse: np.float32, centroids: Floats, lanes: Doubles
) -> int:  # fmt: skip
    """Which of some centroids is nearest: of one, that one; of more, by exact distances, the first of equals."""
    nearest = where[0]
    if len(where) > 1:
        least = np.inf
        for c in where:
            far = squared_distance(row, inverse, centroids[c], lanes)
            if far < least:
                nearest, least = c, far
    return int(nearest)


class Lists(NamedTuple):
    """For each query the rows of the bank that may be among the nearest, what their cosines are at least and at most,
    how many there are, and the bottom: what the k-th nearest is at least."""

    least: Float32[np.ndarray, "q room"]
    most: Float32[np.ndarray, "q room"]
    rows: Int32[np.ndarray, "q room"]
    filled: Int64[np.ndarray, " q"]
    bottom: Float32[np.ndarray, " q"]


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
    n, room, lanes = proposed.products.shape[1], lists.rows.shape[1], np.empty(LANES)
    lower, upper, where = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.int64)
    for i in range(len(queries)):
        bounds(proposed, i, points, lower, upper)
        for c in candidates(upper, lists.bottom[i] - base[i], where):
            if upper[c] + base[i] >= lists.bottom[i]:
                append(lists, i, lower[c] + base[i], upper[c] + base[i], first + c)
            if lists.filled[i] == room:
                make_room(lists, i, k, queries[i], bank, inverse, lanes)


@compiled
def append(lists: Lists, i: int, least: np.float32, most: np.float32, row: int) -> None:
    at = lists.filled[i]
    lists.least[i, at], lists.most[i, at], lists.rows[i, at] = least, most, row
    lists.filled[i] += 1


@compiled
def make_room(
    lists: Lists, i: int, k: int, query: Floats, bank: Floats, inverse: Floats, lanes: Doubles
) -> None:  # fmt: skip
    """Cut a list down to those that may still be among the nearest; if more than half are left, to those that are."""
    cut(lists, i, k)
    if lists.filled[i] > lists.rows.shape[1] // 2:
        settle(lists, i, k, query, bank, inverse, lanes)
        lists.bottom[i] = lists.least[i, k - 1]


@compiled
def cut(lists: Lists, i: int, k: int) -> None:
    """Keep, in their order, the entries that may be as large as the k-th is at least."""
    least, most, rows, kept = lists.least[i], lists.most[i], lists.rows[i], 0
    bottom = lists.bottom[i] = kth_largest(least[: lists.filled[i]].copy(), k)
    for c in range(lists.filled[i]):
        if most[c] >= bottom:
            least[kept], most[kept], rows[kept] = least[c], most[c], rows[c]
            kept += 1
    lists.filled[i] = kept


@compiled
def kth_largest(values: Floats, k: int) -> np.float32:
    """Hoare's quickselect; the values change places."""
    first, last = 0, len(values) - 1
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
    lists: Lists, i: int, k: int, query: Floats, bank: Floats, inverse: Floats, lanes: Doubles
) -> None:  # fmt: skip
    """Keep the k entries of a list that are nearest by exact cosines."""
    for c in range(lists.filled[i]):
        row = lists.rows[i, c]
        lists.least[i, c] = dot(query, bank[row], inverse[row], lanes)
    order(lists, i, k)


@compiled
def order(lists: Lists, i: int, k: int) -> None:
    """Keep the k best, best first, of equals those of the lower row.

    One integer holds both: above, how far down the order of the floats the cosine is; below, the row.
    """
    n, low, thirty_two = lists.filled[i], np.int32(0x7FFFFFFF), np.int64(32)
    bits, keys = lists.least[i, :n].view(np.int32), np.empty(n, np.int64)
    for c in range(n):
        keys[c] = (np.int64(~(bits[c] ^ ((bits[c] >> np.int32(31)) & low))) << thirty_two) | np.int64(lists.rows[i, c])
    keys.sort()
    for c in range(k):
        key = ~np.int32(keys[c] >> thirty_two)
        bits[c] = key ^ ((key >> np.int32(31)) & low)
        lists.rows[i, c] = np.int32(keys[c])
    lists.most[i, :k] = lists.least[i, :k]
    lists.filled[i] = k


@compiled
def settle_all(
    lists: Lists,
    k: int,
    queries: Float32[np.ndarray, "q d"],
    bank: Float32[np.ndarray, "n d"],
    inverse: Float32[np.ndarray, " n"],
) -> None:
    """Bring every list to its k nearest, best first. Part by part of the bank, so that a row which is far down in memory
    is fetched once for all lists that it is on."""
    lanes = np.empty(LANES)
    for i in range(len(queries)):
        cut(lists, i, k)
    for start in range(0, len(bank), PART):
        for i in range(len(queries)):
            for c in range(lists.filled[i]):
                row = lists.rows[i, c]
                if start <= row < start + PART:
                    lists.least[i, c] = dot(queries[i], bank[row], inverse[row], lanes)
    for i in range(len(queries)):
        order(lists, i, k)
