"""Pictures of any size in one flat piece of memory, or of disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Int32, Int64, UInt8
from numpy.typing import NDArray


@dataclass(frozen=True)
class PackedPictures:
    """Picture i is the heights[i] x widths[i] x 3 bytes of `flat` that begin at starts[i]: rows from the top, RGB."""

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
    def laid_out(cls, heights: NDArray[np.integer], widths: NDArray[np.integer], flat: NDArray[np.uint8]) -> Self:
        """Pictures of these sizes, one right behind the other in `flat`."""
        sizes = heights.astype(np.int64)
        sizes *= 3 * widths
        starts = np.cumsum(sizes)
        starts -= sizes
        return cls(flat, starts, heights.astype(np.int32, copy=False), widths.astype(np.int32, copy=False))

    @classmethod
    def of(cls, pictures: Sequence[NDArray[np.uint8]]) -> Self:
        """These pictures, copied behind one another."""
        heights = np.array([picture.shape[0] for picture in pictures], np.int32)
        widths = np.array([picture.shape[1] for picture in pictures], np.int32)
        flat = np.concatenate([picture.ravel() for picture in pictures]) if pictures else np.zeros(0, np.uint8)
        return cls.laid_out(heights, widths, flat)
