"""The pixels of a collection, by position: the short side of each image is shrunk to about `side`."""

import math
from typing import Protocol

import numpy as np
from jaxtyping import Int32

from ..decoding.decode import decode_shrunk, fitted_size
from ..decoding.orientation import RGBArray
from ..decoding.rejection import Rejected
from ..images import Images, Positions
from ..sources.reader_threads import parallel_map
from .packed import PackedImages

SIZES = 65_536  # images whose sizes are computed at a time
CHUNK = 32  # images that a thread decodes before it takes others


class Pixels(Protocol):
    """The RGB pixels of n images with known sizes, read by position. A subset numbers its images from 0."""

    @property
    def heights(self) -> Int32[np.ndarray, "images"]: ...

    @property
    def widths(self) -> Int32[np.ndarray, "images"]: ...

    def __len__(self) -> int: ...

    def read(self, positions: Positions) -> tuple[PackedImages, Positions]:
        """Return packed images, and the row of each position in them."""
        ...

    def subset(self, positions: Positions) -> "Pixels": ...


class DecodedPixels:
    """Pixels that are decoded each time they are read."""

    def __init__(self, images: Images, side: int, workers: int):
        self.images, self.side, self.workers = images, side, workers
        self.heights, self.widths = fitted_sizes(images, side)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, positions: Positions) -> tuple[PackedImages, Positions]:
        unique, rows = np.unique(positions, return_inverse=True)
        heights, widths = self.heights[unique], self.widths[unique]
        packed = PackedImages.from_flat(heights, widths, np.empty(total_bytes(heights, widths), np.uint8))
        # Several chunks a thread, so that none is left with the large images when the others have finished.
        chunk = min(CHUNK, math.ceil(len(unique) / (4 * self.workers)))

        def decode_chunk(start: int) -> None:
            arrays = decode_images(self.images, unique[start : start + chunk], self.side)
            for i, array in enumerate(arrays, start):
                packed[i][:] = array

        parallel_map(decode_chunk, range(0, len(unique), chunk or 1), self.workers)
        return packed, rows

    def subset(self, positions: Positions) -> Pixels:
        return DecodedPixels(self.images.subset(positions), self.side, self.workers)


def fitted_sizes(images: Images, side: int) -> tuple[Int32[np.ndarray, "images"], Int32[np.ndarray, "images"]]:
    """Return the heights and widths of the shrunk images."""
    heights, widths = np.empty(len(images), np.int32), np.empty(len(images), np.int32)
    for begin in range(0, len(images), SIZES):
        block = slice(begin, begin + SIZES)
        # Of many images, few have a size of their own. A size is one number here, because rows are sorted slowly.
        sizes, rows = np.unique(images.widths[block] * np.int64(2**32) + images.heights[block], return_inverse=True)
        fitted = [fitted_size(size >> 32, size & 0xFFFFFFFF, side) for size in sizes.tolist()]
        widths[block], heights[block] = np.array(fitted, np.int32).reshape(-1, 2)[rows].T
    return heights, widths


def total_bytes(heights: Int32[np.ndarray, "images"], widths: Int32[np.ndarray, "images"]) -> int:
    """Return the bytes of all images of these sizes together."""
    return 3 * int(heights.astype(np.int64) @ widths.astype(np.int64))


def decode_images(images: Images, positions: Positions, side: int) -> list[RGBArray]:
    """Decode and shrink the images at these positions; DataError names one that is not as the index says."""
    expected = zip(*fitted_sizes(images.subset(positions), side))
    arrays = []
    for data, position, size in zip(images.read(positions), positions, expected):
        try:
            array, error = decode_shrunk(data, side), "it has another size"
        except Rejected as rejection:
            array, error = np.empty((0, 0, 3), np.uint8), str(rejection)
        if array.shape[:2] != size:
            raise images.changed(images.names(np.array([position]))[0], error)
        arrays.append(array)
    return arrays
