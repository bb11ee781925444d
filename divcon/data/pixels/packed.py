"""Images of any size in one array of bytes, in memory or mapped from a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Int32, Int64, UInt8
from numpy.typing import NDArray


@dataclass(frozen=True)
class PackedImages:
    """Image i is the heights[i] x widths[i] x 3 bytes of `flat` that begin at starts[i]: rows from the top, RGB."""

    flat: UInt8[np.ndarray, "bytes"]
    starts: Int64[np.ndarray, "n"]
    heights: Int32[np.ndarray, "n"]
    widths: Int32[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        start, height, width = int(self.starts[i]), int(self.heights[i]), int(self.widths[i])
        return self.flat[start : start + 3 * height * width].reshape(height, width, 3)

    @classmethod
    def from_flat(cls, heights: NDArray[np.integer], widths: NDArray[np.integer], flat: NDArray[np.uint8]) -> Self:
        """Return images of these sizes, each behind the one before it in `flat`."""
        sizes = heights.astype(np.int64)
        sizes *= 3 * widths
        starts = np.cumsum(sizes)
        starts -= sizes
        return cls(flat, starts, heights.astype(np.int32, copy=False), widths.astype(np.int32, copy=False))

    @classmethod
    def from_arrays(cls, arrays: Sequence[NDArray[np.uint8]]) -> Self:
        """Copy arrays [h, w, 3] behind one another."""
        heights = np.array([array.shape[0] for array in arrays], np.int32)
        widths = np.array([array.shape[1] for array in arrays], np.int32)
        flat = np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0, np.uint8)
        return cls.from_flat(heights, widths, flat)
