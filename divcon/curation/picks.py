"""Picked images, with the reason of each."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float16, Float32, Float64, Int64

Whitened = Float16[np.ndarray, "n d"]  # rows of length one, in memory or in a mapped file
NO_CLUSTER = -1
How = Literal["diverse", "typical", "odd", "balanced"]


@dataclass(frozen=True, eq=False)
class Picks:
    """The positions of the picked images, the best first; the cluster that each was picked from, its score, and the
    reason in words.

    `measured` says how it was done, and `score` what a score is.
    """

    positions: Int64[np.ndarray, " m"]
    clusters: Int64[np.ndarray, " m"]
    scores: Float32[np.ndarray, " m"]
    reasons: list[str]
    measured: str
    score: str

    def __len__(self) -> int:
        return len(self.positions)


def usual_number(images: int) -> int:
    """Return how many of the images are picked where nobody says it: a tenth, but 50 at least and 1,000 at most; half of
    fewer than 100."""
    return max(1, min(images // 2, 50), min(images // 10, 1000))


def exact_products(x: Float16[np.ndarray, "m d"], y: Float16[np.ndarray, "n d"]) -> Float64[np.ndarray, "m n"]:
    """Return the product of each row of x with each row of y, all of length one, without rounding.

    A float16 is a multiple of 2^-24, so a product is a multiple of 2^-48, and float64 holds sums of these up to 16.
    Therefore neither the order of the additions nor the processor changes a bit.
    """
    products: Float64[np.ndarray, "m n"] = x.astype(np.float64) @ y.astype(np.float64).T
    return products
