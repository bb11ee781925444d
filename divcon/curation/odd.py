"""Pick odd images: those that are far from everything else.

An image is as odd as its k-th nearest neighbor is far (Ramaswamy, Rastogi & Shim 2000, "Efficient algorithms for mining
outliers from large data sets"). So up to k copies of a stranger do not hide each other.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64

from ..clustering.streamed_neighbors import streamed_nearest
from ..machine import Precision
from ..rng import uniforms
from .picks import NO_CLUSTER, Picks, Whitened

NEIGHBORS = 10
SAMPLE = 16_384  # images that every image is compared with
CANDIDATES = 4  # times n: images that are compared with all images
FEWEST = 4096  # of these candidates


@dataclass(frozen=True, eq=False)
class Oddest:
    """The positions of the oddest images and their oddness, the oddest first; `usual` is that of the image in the middle.

    `certain` is False if an image that was not compared with all others might be odder than one of these.
    """

    positions: Int64[np.ndarray, " m"]
    oddness: Float32[np.ndarray, " m"]
    usual: float
    certain: bool


def odd(x: Whitened, n: int, *, seed: int, precision: Precision = "fp32", neighbors: int = NEIGHBORS) -> Picks:
    """Return the n oddest images, the oddest first; of equals, the first."""
    k = min(neighbors, len(x) - 1)
    found = oddest(x, n, k, seed=seed, precision=precision)
    reasons = [
        f"far from everything: the cosine to neighbor {k} is {1 - oddness:.2f}; {1 - found.usual:.2f} is usual here"
        for oddness in found.oddness.tolist()
    ]
    clusters = np.full(len(found.positions), NO_CLUSTER)
    measured = f"the distance to neighbor {k}" + ("" if found.certain else ", of candidates that a sample named")
    return Picks(found.positions, clusters, found.oddness, reasons, measured, f"1 - cosine to neighbor {k}")


def oddest(
    x: Whitened,
    n: int,
    k: int,
    *,
    seed: int,
    precision: Precision = "fp32",
    sample: int = SAMPLE,
    fewest: int = FEWEST,
) -> Oddest:
    """Return the n images whose k-th nearest neighbor is the farthest by cosine.

    All images are compared with a sample. A neighbor in the sample is never nearer than the one in the collection, so
    this oddness is an upper bound. The images with the largest bounds are the candidates, and these are compared with
    all images.
    """
    everything = np.arange(len(x))
    bound = _oddness(x, everything, x, _drawn(len(x), sample, seed), k, precision)
    usual = float(np.median(bound))
    if len(x) <= sample:
        order = np.argsort(-bound, kind="stable")[:n]
        return Oddest(order, bound[order], usual, True)
    ranked = np.argsort(-bound, kind="stable")
    candidates, others = np.split(ranked, [max(CANDIDATES * n, fewest)])
    candidates = np.sort(candidates)
    exact = _oddness(x[candidates], candidates, x, everything, k, precision)
    order = np.argsort(-exact, kind="stable")[:n]
    certain = len(others) == 0 or bool(exact[order[-1]] >= bound[others[0]])
    return Oddest(candidates[order], exact[order], usual, certain)


def _drawn(n: int, size: int, seed: int) -> Int64[np.ndarray, " m"]:
    draws = uniforms(("odd", seed), np.arange(n), 1)[:, 0]
    return np.sort(np.argsort(draws, kind="stable")[:size])


def _oddness(
    queries: Whitened,
    numbers: Int64[np.ndarray, " q"],
    x: Whitened,
    bank: Int64[np.ndarray, " m"],
    k: int,
    precision: Precision,
) -> Float32[np.ndarray, " q"]:
    """Return 1 - the cosine to the k-th nearest other row of the bank; `numbers` are the positions of the queries."""
    rows = x if len(bank) == len(x) else x[bank]
    cosines, found = streamed_nearest(queries, rows, min(k + 1, len(bank)), precision)
    itself = torch.from_numpy(bank)[found] == torch.from_numpy(numbers)[:, None]
    last = k - 1 + itself.any(1).long().clamp(max=cosines.shape[1] - k)
    oddness: Float32[np.ndarray, " q"] = 1 - cosines.gather(1, last[:, None])[:, 0].numpy()
    return oddness
