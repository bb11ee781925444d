"""Exact sums over rows: lengths, distances, products, and the integer sums of clusters."""

import numpy as np
from jaxtyping import Float32, Float64, Int64

from .compiling import LANES, ZERO, Doubles, Floats, Integers, Lanes, compiled


@compiled
def sum_lanes(lanes: Lanes) -> float:
    """Return the sum of the first LANES numbers, added by halves; this overwrites them."""
    width = LANES // 2
    while width:
        for i in range(width):
            lanes[i] += lanes[i + width]
        width //= 2
    return float(lanes[0])


@compiled
def squared_length(x: Floats, i: int, lanes: Doubles) -> float:
    """Return |x[i]|^2 in float64."""
    lanes[:] = 0.0
    whole = x.shape[1] // LANES * LANES
    for start in range(0, whole, LANES):
        for j in range(LANES):
            lanes[j] += np.float64(x[i, start + j]) * np.float64(x[i, start + j])
    for j in range(whole, x.shape[1]):
        lanes[j - whole] += np.float64(x[i, j]) * np.float64(x[i, j])
    return float(sum_lanes(lanes))


@compiled
def squared_distance(x: Floats, i: int, inverse: np.float32, points: Floats, c: int, lanes: Doubles) -> float:
    """Return |x[i] * inverse - points[c]|^2 in float64."""
    lanes[:] = 0.0
    whole = x.shape[1] // LANES * LANES
    for start in range(0, whole, LANES):
        for j in range(LANES):
            difference = np.float64(x[i, start + j] * inverse) - np.float64(points[c, start + j])
            lanes[j] += difference * difference
    for j in range(whole, x.shape[1]):
        difference = np.float64(x[i, j] * inverse) - np.float64(points[c, j])
        lanes[j - whole] += difference * difference
    return float(sum_lanes(lanes))


@compiled
def dot(queries: Floats, q: int, x: Floats, i: int, inverse: np.float32, lanes: Floats) -> np.float32:
    """Return queries[q] . (x[i] * inverse) in float32, summed in 2 * LANES lanes."""
    lanes[:] = ZERO
    whole = x.shape[1] // (2 * LANES) * (2 * LANES)
    for start in range(0, whole, 2 * LANES):
        for j in range(2 * LANES):
            lanes[j] += queries[q, start + j] * (x[i, start + j] * inverse)
    for j in range(whole, x.shape[1]):
        lanes[j - whole] += queries[q, j] * (x[i, j] * inverse)
    for j in range(LANES):
        lanes[j] += lanes[j + LANES]
    return np.float32(sum_lanes(lanes))


@compiled
def squared_lengths(x: Float32[np.ndarray, "b d"], out: Float64[np.ndarray, " b"]) -> None:
    """Write |x[i]|^2 of every row to `out`."""
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
    """Write the squared distance of every row from points[labels[i]] to `out`."""
    lanes = np.empty(LANES)
    for i in range(len(x)):
        out[i] = squared_distance(x, i, inverse[i], points, labels[i], lanes)


@compiled
def move_rows(
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    before: Int64[np.ndarray, " b"],
    after: Int64[np.ndarray, " b"],
    scale: np.float32,
    total: Int64[np.ndarray, "k d"],
) -> int:
    """Move each row whose label changed from the sum of its old cluster to that of its new one, and return their
    number.

    A row whose old label is -1 is only added. `total` holds the sums as integers, in units of 1 / scale.
    """
    moved = 0
    for i in range(len(x)):
        if before[i] != after[i]:
            moved += 1
            add_row(x, i, inverse[i] * scale, total, after[i], 1)
            if before[i] >= 0:
                add_row(x, i, inverse[i] * scale, total, before[i], -1)
    return moved


@compiled
def add_row(x: Floats, i: int, scale: np.float32, total: Integers, c: int, sign: int) -> None:
    for j in range(x.shape[1]):
        total[c, j] += sign * np.int64(np.rint(x[i, j] * scale))
