"""The sample of a collection that a report shows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Int32, Int64

from ..rng import uniforms

SIZE = 4000  # images at most


@dataclass(frozen=True, eq=False)
class Sample:
    """Some images of a collection of `collection` images.

    `features` are as the encoder gives them; `Features` compares them. They are None if no encoder was there.
    `clusters` are the numbers of the clusters of the images, in 0 .. k - 1, and `names` [k] has a name of each cluster.
    `paths` are printable text, and `sizes` the bytes of the files. `thumbnails` are WebP files, with a longer side of at
    most 64 pixels; None if the images were not there.
    """

    collection: int
    positions: Int64[np.ndarray, " m"]
    features: Float16[np.ndarray, "m d"] | None
    clusters: Int64[np.ndarray, " m"]
    names: list[str]
    paths: list[str]
    widths: Int32[np.ndarray, " m"]
    heights: Int32[np.ndarray, " m"]
    sizes: Int64[np.ndarray, " m"]
    thumbnails: list[bytes] | None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def k(self) -> int:
        return len(self.names)


def sample_positions(n: int, seed: int, size: int = SIZE) -> Int64[np.ndarray, " m"]:
    """Return the positions of at most `size` of n images, in rising order: one drawn from each of `size` equal parts."""
    m = min(n, size)
    begins = np.arange(m + 1) * n // max(m, 1)
    drawn = uniforms((seed, "report"), np.arange(m), 1)[:, 0]
    return begins[:-1] + (drawn * np.diff(begins)).astype(np.int64)
