"""The features of images, and their whitening: anything that compares features compares whitened ones, unless whiten=false."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from ..errors import FaultError
from ..nets.whitening import Whitening

BLOCK = 65_536  # rows
FITTED = 200_000  # rows that a whitening is fitted on


@dataclass(frozen=True)
class Features:
    """The features of images [n, d], mapped from a file or in memory, and the whitening with which they are compared; None
    compares them as they are."""

    x: Float16[np.ndarray, "n d"]
    whitening: Whitening | None

    @classmethod
    def of(cls, x: Float16[np.ndarray, "n d"], whitening: Whitening | None = None) -> "Features":
        """Return features with the whitening of their encoder; if it has none, with that of at most FITTED of their rows.

        Positions follow hashes, so rows at equal distances are a random sample. FaultError for rows that are not finite.
        """
        if not all(np.isfinite(x[begin : begin + BLOCK]).all() for begin in range(0, len(x), BLOCK)):
            raise FaultError(
                "the encoder gives features that are not finite in float16; `divcon embed` writes them in float32"
            )
        return cls(x, whitening or Whitening.fit(x[:: max(1, -(-len(x) // FITTED))]))

    def __len__(self) -> int:
        return len(self.x)

    def compared(self, rows: slice | Int64[np.ndarray, " m"] = slice(None)) -> Float32[Tensor, "m d"]:
        """Return the features of some rows as they are compared, each of length one: their products are cosines."""
        return self.comparable(self.x[rows])

    def comparable(self, x: Float[Tensor, "m d"] | Float[np.ndarray, "m d"]) -> Float32[Tensor, "m d"]:
        """Return raw features of other images as `compared` returns those of these images."""
        if self.whitening is not None:
            return F.normalize(self.whitening(x), dim=1)
        return F.normalize(x.float() if isinstance(x, Tensor) else torch.from_numpy(x.astype(np.float32)), dim=1)

    def blocks(self) -> Iterator[tuple[slice, Float32[Tensor, "b d"]]]:
        """Yield the features as they are compared, block by block, each with its rows."""
        for begin in range(0, len(self.x), BLOCK):
            rows = slice(begin, min(begin + BLOCK, len(self.x)))
            yield rows, self.compared(rows)
