"""Rows in low precision, and the candidates that their products with points leave.

The score of a row with a point is their product plus the point's offset. It is known up to an error bound, so a point
is a candidate when the upper bound of its score reaches a threshold that the best score is sure to reach.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped, UInt16
from numpy.typing import NDArray

from .compiling import MAGNITUDE, SIGN_SHIFT, ZERO, Bits, Floats, Integers, compiled, fast_math

GROUP = np.uint64(64)  # points that are skipped together when none of them is a candidate


class Products(NamedTuple):
    """Low-precision products of rows with points, and their errors.

    `bits` shifted left by `shift` are those of a float32. Each product may be off by `relative_error` of itself, and by
    `row_error` of its row times the length of the point.
    """

    bits: Shaped[np.ndarray, "b k"]
    shift: int
    relative_error: np.float32
    row_error: Float32[np.ndarray, " b"]


class PointTerms(NamedTuple):
    """For each point: the offset that makes a score of a product, its length, and a further error of its scores."""

    offset: Float32[np.ndarray, " k"]
    length: Float32[np.ndarray, " k"]
    error: Float32[np.ndarray, " k"]


@compiled
def to_bf16(
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    origin: Float32[np.ndarray, " d"],
    scale: np.float32,
    bits: UInt16[np.ndarray, "b d"],
    lengths: Float32[np.ndarray, " b"],
    residues: Float32[np.ndarray, " b"],
) -> None:
    """Write (x * inverse - origin) * scale in bfloat16, as bits; each row's length; and the length of its rounding
    error."""
    line, lost = np.empty((1, x.shape[1]), np.float32), np.empty((1, x.shape[1]), np.float32)
    line_bits, rounded_bits = line.view(np.uint32), lost.view(np.uint32)
    for i in range(len(x)):
        shift_row(x, i, inverse[i], origin, scale, line, 0)
        round_to_bf16(line_bits, bits, i, rounded_bits)
        for j in range(x.shape[1]):
            lost[0, j] = line[0, j] - lost[0, j]
        lengths[i], residues[i] = row_length(line, 0), row_length(lost, 0)


@compiled
def to_fp32(
    x: Float32[np.ndarray, "b d"],
    inverse: Float32[np.ndarray, " b"],
    origin: Float32[np.ndarray, " d"],
    scale: np.float32,
    out: Float32[np.ndarray, "b d"],
    lengths: Float32[np.ndarray, " b"],
) -> None:
    """Write (x * inverse - origin) * scale in float32, and each row's length; every error bound allows for this
    rounding."""
    for i in range(len(x)):
        shift_row(x, i, inverse[i], origin, scale, out, i)
        lengths[i] = row_length(out, i)


@compiled
def shift_row(x: Floats, i: int, inverse: np.float32, origin: Floats, scale: np.float32, out: Floats, o: int) -> None:
    """Write (x[i] * inverse - origin) * scale to out[o]. No multiplication is fused with an addition."""
    for j in range(x.shape[1]):
        out[o, j] = (x[i, j] * inverse - origin[j]) * scale


@compiled
def round_to_bf16(line_bits: Bits, bits: Bits, i: int, rounded_bits: Bits) -> None:
    """Write the bits of the nearest bfloat16 to bits[i], ties to even, and those of the same number as a float32."""
    half, one, sixteen = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)
    for j in range(line_bits.shape[1]):
        top = (line_bits[0, j] + half + ((line_bits[0, j] >> sixteen) & one)) >> sixteen
        bits[i, j] = np.uint16(top)
        rounded_bits[0, j] = top << sixteen


@fast_math
def row_length(x: Floats, i: int) -> np.float32:
    total = ZERO
    for j in range(x.shape[1]):
        total += x[i, j] * x[i, j]
    return np.float32(np.sqrt(total))


@fast_math
def widen(bits: Bits, i: int, shift: int, wide: Bits) -> None:
    """Write bits[i] as the bits of float32: unchanged for a shift of 0, those of bfloat16 for a shift of 16."""
    for j in range(bits.shape[1]):
        wide[j] = np.uint32(bits[i, j]) << np.uint32(shift)


@fast_math
def score_bounds(
    offset: Floats,
    length: Floats,
    point_error: Floats,
    row_error: np.float32,
    relative_error: np.float32,
    lower: Floats,
    upper: Floats,
) -> None:
    """Write the lower and the upper bounds of a row's scores. On entry, `upper` holds its products."""
    for c in range(len(upper)):
        score = upper[c] + offset[c]
        error = row_error * length[c] + point_error[c] + relative_error * abs(upper[c])
        lower[c] = score - error
        upper[c] = score + error


@fast_math
def largest(bits: NDArray[np.int32]) -> np.int32:
    """Return the bits of the largest float32, given the bits of all. Their integer keys have the same order, and only
    integers are compared by vector instructions."""
    best = np.int32(-(2**31))
    for c in range(np.uint64(len(bits))):
        key = np.int32(bits[c] ^ ((bits[c] >> SIGN_SHIFT) & MAGNITUDE))
        best = key if key > best else best
    return np.int32(best ^ ((best >> SIGN_SHIFT) & MAGNITUDE))


@fast_math
def find_candidates(upper: Floats, threshold: np.float32, found: Integers) -> int:
    """Write the points whose upper bound reaches the threshold to `found`, in order, and return their number.

    There are few of them, so a group of GROUP points is searched only when it has one. The search has no branch,
    because a processor could not predict it.
    """
    count, k = np.uint64(0), np.uint64(len(upper))
    for start in range(np.uint64(0), k, GROUP):
        hits, end = np.int32(0), min(start + GROUP, k)
        for c in range(start, end):
            hits += np.int32(1) if upper[c] >= threshold else np.int32(0)
        for c in range(start, end if hits else start):
            found[count] = c
            count += np.uint64(1) if upper[c] >= threshold else np.uint64(0)
    return int(count)
