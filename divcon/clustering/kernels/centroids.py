"""The nearest centroid of each row: candidates by low-precision scores, chosen by exact distances."""

import numpy as np
from jaxtyping import Float32, Int64

from .compiling import LANES, ZERO, Doubles, Floats, Integers, compiled, fast_math
from .low_precision import PointTerms, Products, find_candidates, largest, row_length, score_bounds, shift_row, widen
from .sums import squared_distance

EIGHT = 8  # centroids whose products with a row are summed side by side


@fast_math
def nearest_centroids(
    products: Products,
    points: PointTerms,
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    centroids: Float32[np.ndarray, "k d"],
    labels: Int64[np.ndarray, " b"],
) -> None:
    """Write the number of each row's nearest centroid to `labels`."""
    bits, shift, relative_error, row_error = products
    offset, length, point_error = points
    k, lanes, found = len(centroids), np.empty(LANES), np.empty(len(centroids), np.int64)
    lower, upper, best = np.empty(k, np.float32), np.empty(k, np.float32), np.empty(1, np.float32)
    wide, lower_bits, best_bits = upper.view(np.uint32), lower.view(np.int32), best.view(np.int32)
    for i in range(len(x)):
        widen(bits, i, shift, wide)
        score_bounds(offset, length, point_error, row_error[i], relative_error, lower, upper)
        best_bits[0] = largest(lower_bits)
        count = find_candidates(upper, best[0], found)
        labels[i] = nearest_candidate(found, count, x, i, inverse[i], centroids, lanes)


@fast_math
def nearest_of_few_centroids(
    origin: Float32[np.ndarray, " d"],
    scale: np.float32,
    low: Float32[np.ndarray, "padded d"],
    unit_error: np.float32,
    points: PointTerms,
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    centroids: Float32[np.ndarray, "k d"],
    labels: Int64[np.ndarray, " b"],
) -> None:
    """Write the number of each row's nearest centroid to `labels`, for few centroids: products with a row are made
    while it is in the cache.

    `low` are the shifted centroids, padded with zero rows to a multiple of EIGHT. `unit_error` is the error of a
    product of a row and a point of length one.
    """
    offset, length, point_error = points
    k, lanes, found = len(low), np.empty(LANES), np.empty(len(low), np.int64)
    lower, upper, best = np.empty(k, np.float32), np.empty(k, np.float32), np.empty(1, np.float32)
    lower_bits, best_bits, line = lower.view(np.int32), best.view(np.int32), np.empty((1, x.shape[1]), np.float32)
    for i in range(len(x)):
        shift_row(x, i, inverse[i], origin, scale, line, 0)
        row_products(line, low, upper)
        score_bounds(offset, length, point_error, unit_error * row_length(line, 0), ZERO, lower, upper)
        best_bits[0] = largest(lower_bits)
        count = find_candidates(upper, best[0], found)
        labels[i] = nearest_candidate(found, count, x, i, inverse[i], centroids, lanes)


@fast_math
def row_products(line: Floats, low: Floats, out: Floats) -> None:
    """Write line[0] . low[c] for all c to `out`. An entry of the line is read once for EIGHT sums, and no addition
    waits for the one before it."""
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
def nearest_candidate(
    found: Integers, count: int, x: Floats, i: int, inverse: np.float32, centroids: Floats, lanes: Doubles
) -> int:
    """Return the nearest of the first `count` centroids in `found`, by exact distance; the first of equals."""
    nearest, least = found[0], np.inf
    for n in range(count if count > 1 else 0):
        distance = squared_distance(x, i, inverse, centroids, found[n], lanes)
        if distance < least:
            nearest, least = found[n], distance
    return int(nearest)
