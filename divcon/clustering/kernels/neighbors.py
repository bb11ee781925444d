"""The nearest rows of a bank: a list of candidates for each query, cut down to the k nearest by exact cosines."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64
from numpy.typing import NDArray

from .compiling import LANES, MAGNITUDE, SIGN_SHIFT, Floats, Integers, compiled, fast_math
from .low_precision import PointTerms, Products, find_candidates, score_bounds, widen
from .sums import dot

PART = 4096  # rows of the bank that fit into a cache


class CandidateLists(NamedTuple):
    """For each query: rows of the bank that may be among the nearest, and bounds of their cosines.

    The first sizes[q] places of list q are used. Its threshold is a lower bound of the k-th largest cosine: only rows
    that may reach it come onto the list.
    """

    lower: Float32[np.ndarray, "q capacity"]
    upper: Float32[np.ndarray, "q capacity"]
    rows: Int32[np.ndarray, "q capacity"]
    sizes: Int64[np.ndarray, " q"]
    threshold: Float32[np.ndarray, " q"]


@fast_math
def start_thresholds(
    products: Products,
    points: PointTerms,
    base: Float32[np.ndarray, " q"],
    rank: int,
    threshold: Float32[np.ndarray, " q"],
) -> None:
    """Set each query's threshold to the lower bound of the cosine that has this rank in a sample of the bank."""
    bits, shift, relative_error, row_error = products
    offset, length, point_error = points
    lower, upper = np.empty(len(offset), np.float32), np.empty(len(offset), np.float32)
    wide = upper.view(np.uint32)
    for i in range(len(threshold)):
        widen(bits, i, shift, wide)
        score_bounds(offset, length, point_error, row_error[i], relative_error, lower, upper)
        threshold[i] = kth_largest(lower, len(lower), rank) + base[i]


@fast_math
def collect_candidates(
    products: Products,
    points: PointTerms,
    base: Float32[np.ndarray, " q"],
    first: int,
    k: int,
    queries: Float32[np.ndarray, "q d"],
    bank: Float32[np.ndarray, "n d"],
    inverse: Float32[np.ndarray, " n"],
    lists: CandidateLists,
) -> None:
    """Add the rows of one block of the bank that may be among the k nearest to each query's list. The block begins at
    row `first`."""
    bits, shift, relative_error, row_error = products
    offset, length, point_error = points
    lowest, highest, rows, sizes, threshold = lists
    lanes, scratch = np.empty(2 * LANES, np.float32), np.empty(rows.shape[1], np.float32)
    found = np.empty(len(offset), np.int64)
    lower, upper = np.empty(len(offset), np.float32), np.empty(len(offset), np.float32)
    wide = upper.view(np.uint32)
    for i in range(len(queries)):
        widen(bits, i, shift, wide)
        score_bounds(offset, length, point_error, row_error[i], relative_error, lower, upper)
        for hit in range(find_candidates(upper, threshold[i] - base[i], found)):
            c, n = found[hit], sizes[i]
            if upper[c] + base[i] >= threshold[i]:
                lowest[i, n], highest[i, n], rows[i, n] = lower[c] + base[i], upper[c] + base[i], first + c
                sizes[i] = n + 1
                if n + 1 == rows.shape[1]:
                    shorten_list(lowest, highest, rows, sizes, threshold, i, k, scratch, queries, bank, inverse, lanes)


@compiled
def shorten_list(
    lower: Floats,
    upper: Floats,
    rows: NDArray[np.int32],
    sizes: Integers,
    threshold: Floats,
    i: int,
    k: int,
    scratch: Floats,
    queries: Floats,
    bank: Floats,
    inverse: Floats,
    lanes: Floats,
) -> None:
    """Keep the candidates that may still be among the k nearest; if they fill more than half the list, only the k
    nearest."""
    threshold[i] = max(threshold[i], kth_lower_bound(lower, i, sizes[i], k, scratch))
    drop_below_threshold(lower, upper, rows, sizes, threshold, i)
    if sizes[i] > rows.shape[1] // 2:
        keep_nearest(lower, upper, rows, sizes, i, k, queries, bank, inverse, lanes)
        threshold[i] = max(threshold[i], lower[i, k - 1])


@compiled
def drop_below_threshold(
    lower: Floats, upper: Floats, rows: NDArray[np.int32], sizes: Integers, threshold: Floats, i: int
) -> None:
    """Keep the candidates that may reach the threshold, in their order."""
    kept = 0
    for c in range(sizes[i]):
        lower[i, kept], upper[i, kept], rows[i, kept] = lower[i, c], upper[i, c], rows[i, c]
        kept += upper[i, c] >= threshold[i]
    sizes[i] = kept


@compiled
def kth_lower_bound(lower: Floats, i: int, n: int, k: int, scratch: Floats) -> np.float32:
    for c in range(n):
        scratch[c] = lower[i, c]
    return np.float32(kth_largest(scratch, n, k))


@compiled
def kth_largest(values: Floats, n: int, k: int) -> np.float32:
    """Return the k-th largest of the first n values, by Hoare's quickselect, which reorders them."""
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
def keep_nearest(
    lower: Floats,
    upper: Floats,
    rows: NDArray[np.int32],
    sizes: Integers,
    i: int,
    k: int,
    queries: Floats,
    bank: Floats,
    inverse: Floats,
    lanes: Floats,
) -> None:
    """Keep the k candidates of a list with the largest exact cosines."""
    for c in range(sizes[i]):
        lower[i, c] = dot(queries, i, bank, rows[i, c], inverse[rows[i, c]], lanes)
    sort_list(lower, upper, rows, sizes, i, k)


@compiled
def sort_list(lower: Floats, upper: Floats, rows: NDArray[np.int32], sizes: Integers, i: int, k: int) -> None:
    """Keep the k candidates with the largest cosines, the largest first; of equals, the lower row first.

    `lower` holds exact cosines. One integer holds both keys: the descending key of the cosine in its upper half, and
    the row in its lower half.
    """
    keys, bits, thirty_two = np.empty(sizes[i], np.int64), lower.view(np.int32), np.int64(32)
    for c in range(sizes[i]):
        key = ~(bits[i, c] ^ ((bits[i, c] >> SIGN_SHIFT) & MAGNITUDE))
        keys[c] = (np.int64(key) << thirty_two) | np.int64(rows[i, c])
    keys.sort()
    for c in range(k):
        key = ~np.int32(keys[c] >> thirty_two)
        bits[i, c], rows[i, c] = key ^ ((key >> SIGN_SHIFT) & MAGNITUDE), np.int32(keys[c])
        upper[i, c] = lower[i, c]
    sizes[i] = k


@compiled
def finish_lists(
    lists: CandidateLists,
    k: int,
    queries: Float32[np.ndarray, "q d"],
    bank: Float32[np.ndarray, "n d"],
    inverse: Float32[np.ndarray, " n"],
    complete: Bool[np.ndarray, " q"],
) -> None:
    """Cut every complete list down to its k nearest rows, the nearest first.

    A list is complete when k of its rows are sure to reach its threshold: all rows that were left out are below that.
    The bank is read part by part, so that a row far down in memory is fetched once for all lists that have it.
    """
    lower, upper, rows, sizes, threshold = lists
    lanes, scratch = np.empty(2 * LANES, np.float32), np.empty(rows.shape[1], np.float32)
    for i in range(len(queries)):
        kth = kth_lower_bound(lower, i, sizes[i], k, scratch) if sizes[i] >= k else np.float32(-np.inf)
        complete[i], threshold[i] = sizes[i] >= k and kth >= threshold[i], max(threshold[i], kth)
        if complete[i]:
            drop_below_threshold(lower, upper, rows, sizes, threshold, i)
    for start in range(0, len(bank), PART):
        for i in range(len(queries)):
            for c in range(sizes[i] if complete[i] else 0):
                if start <= rows[i, c] < start + PART:
                    lower[i, c] = dot(queries, i, bank, rows[i, c], inverse[rows[i, c]], lanes)
    for i in range(len(queries)):
        if complete[i]:
            sort_list(lower, upper, rows, sizes, i, k)
