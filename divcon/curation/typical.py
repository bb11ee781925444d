"""Pick typical images, spread over clusters: TypiClust (Hacohen et al. 2022, arXiv 2202.02794).

The typicality of an image is one over its mean distance to its 20 nearest neighbors in its cluster. With few labels,
typical images teach a classifier more than random ones.
"""

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from ..clustering.hierarchy import kmeans_in_two_steps
from ..clustering.neighbors import nearest
from ..files.text import counted
from ..machine import Precision
from ..rng import uniforms
from .picks import Picks, Whitened, exact_products

NEIGHBORS = 20  # as in the paper
SMALLEST = 5  # a smaller cluster has no density worth the name, as in the paper
IMAGES = 10  # on average in a cluster, at least
FEW = 1024  # images of a cluster whose products are all made
MEASURED = 8192  # images of a cluster that are compared with each other; of a larger one, a sample


def typical(x: Whitened, n: int, *, seed: int, precision: Precision = "fp32") -> Picks:
    """Return n images: the most typical one of each cluster, the largest cluster first; then the second one of each,
    and so on. Clusters with fewer than 5 images come last."""
    level = kmeans_in_two_steps(x, max(1, min(n, len(x) // IMAGES)), seed=seed, precision=precision)
    scores, order, turns = typicalities(x, level.members(), seed, precision)
    sizes = np.bincount(level.labels, minlength=level.k)[level.labels[order]]
    chosen = np.lexsort((order, -sizes, turns, sizes < SMALLEST))[:n]
    positions = order[chosen]
    clusters = level.labels[positions]
    reasons = [
        f"{_rank(turn)}most typical of cluster {cluster} of {level.k}; {size:,} images in it"
        for turn, cluster, size in zip(turns[chosen].tolist(), clusters.tolist(), sizes[chosen].tolist())
    ]
    return Picks(
        positions,
        clusters,
        scores[chosen],
        reasons,
        f"k-means with {counted(level.k, 'cluster')}, and the images nearest to their neighbors in each; the largest cluster first",
        f"typicality: 1 / mean distance to the {NEIGHBORS} nearest neighbors in the cluster",
    )


def typicalities(
    x: Whitened, members: list[Int64[np.ndarray, " s"]], seed: int, precision: Precision
) -> tuple[Float32[np.ndarray, " m"], Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Return typicalities, the positions they belong to, and the rank of each in its cluster, from 0.

    Of a cluster with more than MEASURED images only as many are ranked, drawn by the seed, and their neighbors are
    sought among these.
    """
    scores, order, turns = [], [], []
    for rows in members:
        rows = _sample(rows, seed)
        score = _typicality(np.asarray(x[rows]), precision)
        best = np.argsort(-score, kind="stable")
        scores.append(score[best])
        order.append(rows[best])
        turns.append(np.arange(len(rows)))
    return np.concatenate(scores), np.concatenate(order), np.concatenate(turns)


def _sample(rows: Int64[np.ndarray, " s"], seed: int) -> Int64[np.ndarray, " m"]:
    if len(rows) <= MEASURED:
        return rows
    draws = uniforms(("typical", seed), rows, 1)[:, 0]
    return np.sort(rows[np.argsort(draws, kind="stable")[:MEASURED]])


def _typicality(x: Whitened, precision: Precision) -> Float32[np.ndarray, " s"]:
    """Return 1 / the mean of |x_i - x_j| over the nearest neighbors j of each row i of length one."""
    k = min(NEIGHBORS, len(x) - 1)
    if k == 0:
        return np.zeros(1, np.float32)
    cosines = _cosines(x, k + 1, precision)[:, 1:]  # the first is that of the row with itself
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0)).mean(1)
    typicality: Float32[np.ndarray, " s"] = (1 / np.maximum(distances, 1e-6)).astype(np.float32)
    return typicality


def _cosines(x: Whitened, k: int, precision: Precision) -> Float64[np.ndarray, "s k"]:
    """Return the k largest products of each row with the rows, falling."""
    if len(x) > FEW:
        rows = torch.from_numpy(x.astype(np.float32))
        largest: Float64[np.ndarray, "s k"] = nearest(rows, rows, k, precision=precision)[0].double().numpy()
        return largest
    products = exact_products(x, x)
    return -np.sort(np.partition(-products, k - 1, axis=1)[:, :k], axis=1)


def _rank(turn: int) -> str:
    words = ("the ", "the second ", "the third ")
    return words[turn] if turn < len(words) else f"number {turn + 1} of the "
