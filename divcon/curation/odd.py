"""Pick odd images: those that are far from everything else.

An image is as odd as its k-th nearest neighbor is far (Ramaswamy, Rastogi & Shim 2000, "Efficient algorithms for mining
outliers from large data sets"). So up to k copies of a stranger do not hide each other.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Int64

from ..clustering.distances import Lift, distances_to_neighbor
from ..machine import Precision
from ..rng import uniforms
from .picks import NO_CLUSTER, Picks

NEIGHBORS = 10
SAMPLE = 16_384  # images that every image is compared with
CANDIDATES = 4  # times n: images that are compared with all images
FEWEST = 4096  # of these candidates
USUAL = 1024  # images that show what is usual, where not all images are compared with all
FENCE = 1.5  # times the distance between the quartiles, above the upper one: beyond lies an outlier (Tukey 1977)

Raw = Float16[np.ndarray, "n d"]  # features as the encoder gives them, in memory or in a mapped file


@dataclass(frozen=True, eq=False)
class Oddest:
    """The positions of the oddest images and their oddness, the oddest first; `usual` is that of the image in the middle, and
    what is more than `far` is an outlier.

    `certain` is False if an image that was not compared with all others might be odder than one of these.
    """

    positions: Int64[np.ndarray, " m"]
    oddness: Float32[np.ndarray, " m"]
    usual: float
    far: float
    certain: bool

    def reason(self, oddness: float, k: int) -> str:
        """Return in words how odd an image is."""
        how = (
            "far from everything"
            if oddness > self.far
            else "farther from others than most"
            if oddness > self.usual
            else "not odd"
        )
        return f"{how}: the distance to neighbor {k} is {oddness:.3g}; {self.usual:.3g} is usual here"


def odd(x: Raw, n: int, *, seed: int, precision: Precision = "fp32", neighbors: int = NEIGHBORS) -> Picks:
    """Return the n oddest images, the oddest first; of equals, the first. The features are not whitened: planted strangers
    are found more often so."""
    k = min(neighbors, len(x) - 1)
    found = oddest(x, n, k, seed=seed, precision=precision)
    reasons = [found.reason(oddness, k) for oddness in found.oddness.tolist()]
    clusters = np.full(len(found.positions), NO_CLUSTER)
    measured = f"the distance to neighbor {k}" + ("" if found.certain else ", of candidates that a sample named")
    return Picks(found.positions, clusters, found.oddness, reasons, measured, f"distance to neighbor {k}")


def oddest(
    x: Raw,
    n: int,
    k: int,
    *,
    seed: int,
    precision: Precision = "fp32",
    sample: int = SAMPLE,
    fewest: int = FEWEST,
) -> Oddest:
    """Return the n images whose k-th nearest neighbor is the farthest.

    All images are compared with a sample. A neighbor in the sample is never nearer than the one in the collection, so
    this oddness is an upper bound. The images with the largest bounds are the candidates, and these are compared with
    all images.
    """
    everything, lift = np.arange(len(x)), Lift.of(x)
    bound = distances_to_neighbor(x, everything, _drawn(len(x), sample, seed), k, lift, precision)
    if len(x) <= sample:
        order = np.argsort(-bound, kind="stable")[:n]
        return Oddest(order, bound[order], *_usual_and_far(bound), True)
    ranked = np.argsort(-bound, kind="stable")
    candidates, others = np.split(ranked, [max(CANDIDATES * n, fewest)])
    candidates = np.sort(candidates)
    exact = distances_to_neighbor(x, candidates, everything, k, lift, precision)
    order = np.argsort(-exact, kind="stable")[:n]
    certain = len(others) == 0 or bool(exact[order[-1]] >= bound[others[0]])
    others_too = distances_to_neighbor(x, _drawn(len(x), USUAL, seed), everything, k, lift, precision)
    return Oddest(candidates[order], exact[order], *_usual_and_far(others_too), certain)


def _usual_and_far(oddness: Float32[np.ndarray, " m"]) -> tuple[float, float]:
    """Return the median of the oddness, and the value beyond which an image is an outlier."""
    lower, usual, upper = np.quantile(oddness, [0.25, 0.5, 0.75]).tolist()
    return usual, upper + FENCE * (upper - lower)


def _drawn(n: int, size: int, seed: int) -> Int64[np.ndarray, " m"]:
    draws = uniforms(("odd", seed), np.arange(n), 1)[:, 0]
    return np.sort(np.argsort(draws, kind="stable")[:size])
