"""Products of rows with points in low precision, and bounds of their errors.

Let a be a row and c a point, rounded to a~ and c~. Their product is off by at most |a - a~| |c| + |a~| |c - c~|, by the
rounding of d additions in float32, and by its own rounding when it is a bfloat16. The rounding errors of the rows are
measured, not estimated. So a search among the points that can be the best within these bounds misses none.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ..machine import Precision
from .kernels import low_precision
from .kernels.low_precision import Products

BF16_ERROR = np.float32(1.01 * 2**-8)  # a product in bfloat16 may be off by this share of itself
MARGIN = 1.01  # allows for the rounding of the bounds themselves


@dataclass(frozen=True, eq=False)
class Frame:
    """The coordinates of rows in low precision: (row - origin) * scale, where scale is a power of two.

    Numbers near the origin are small, and so is their rounding error.
    """

    origin: Float32[np.ndarray, " d"]
    scale: float
    precision: Precision

    @property
    def rounding(self) -> float:
        """The largest share of |a| |c| that additions in float32, in any order, may take from a product. It is twice
        the theoretical bound, which allows for the operations before and after them."""
        return (len(self.origin) + 8) * 2.0**-23

    @property
    def relative_error(self) -> np.float32:
        return BF16_ERROR if self.precision == "bf16" else np.float32(0)

    def convert(self, x: Float32[np.ndarray, "b d"], inverse: Float32[np.ndarray, " b"]) -> "LowPrecisionRows":
        """Return the rows x * inverse in low precision."""
        rows = LowPrecisionRows.empty(len(x), x.shape[1], self.precision)
        self.convert_into(rows, x, inverse)
        return rows

    def convert_into(
        self, out: "LowPrecisionRows", x: Float32[np.ndarray, "b d"], inverse: Float32[np.ndarray, " b"]
    ) -> None:
        """Write the rows x * inverse to `out` in low precision."""
        origin, scale = self.origin, np.float32(self.scale)
        if self.precision == "bf16":
            bits = out.values.view(torch.int16).numpy().view(np.uint16)
            low_precision.to_bf16(x, inverse, origin, scale, bits, out.lengths, out.residues)
        else:
            low_precision.to_fp32(x, inverse, origin, scale, out.values.numpy(), out.lengths)


@dataclass(frozen=True, eq=False)
class LowPrecisionRows:
    """Rows in low precision, the lengths of the exact rows, and the lengths of their rounding errors."""

    values: Float[Tensor, "b d"]
    lengths: Float32[np.ndarray, " b"]
    residues: Float32[np.ndarray, " b"]

    @classmethod
    def empty(cls, n: int, d: int, precision: Precision) -> "LowPrecisionRows":
        # numpy asks for large pages: with small ones, allocation takes longer than writing the rows
        values = torch.from_numpy(np.empty((n, d), np.int16 if precision == "bf16" else np.float32))
        values = values.view(torch.bfloat16) if precision == "bf16" else values
        return cls(values, np.empty(n, np.float32), np.zeros(n, np.float32))

    def __getitem__(self, rows: slice) -> "LowPrecisionRows":
        return LowPrecisionRows(self.values[rows], self.lengths[rows], self.residues[rows])

    def row_error(self, frame: Frame, points: "LowPrecisionRows") -> Float32[np.ndarray, " b"]:
        """Return, for each row, the largest error of its product with a point of length one."""
        share = float((points.residues / np.maximum(points.lengths, np.float32(1e-30))).max())
        error: Float32[np.ndarray, " b"] = self.residues * np.float32(MARGIN * (1 + share))
        return error + self.lengths * np.float32(MARGIN * (share + frame.rounding))

    def times(self, points: "LowPrecisionRows", frame: Frame) -> Products:
        """Return the products of each row with each point, and their errors."""
        out, row_error = torch.mm(self.values, points.values.T), self.row_error(frame, points)
        if out.dtype == torch.bfloat16:
            return Products(out.view(torch.int16).numpy().view(np.uint16), 16, frame.relative_error, row_error)
        return Products(out.numpy().view(np.uint32), 0, frame.relative_error, row_error)
