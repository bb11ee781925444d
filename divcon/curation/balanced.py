"""Pick a balanced subset: equally many images from each cluster of a hierarchy (Vo et al. 2024, arXiv 2405.15613).

From the top level down, each cluster gives the same number to each of the clusters in it, as far as these have as many.
The images of a cluster of the lowest level are drawn at random.
"""

import numpy as np
from jaxtyping import Int64

from ..clustering.hierarchy import Hierarchy, hierarchical_kmeans
from ..clustering.shares import equal_shares
from ..machine import Precision
from ..rng import uniforms
from .picks import Picks, Whitened

IMAGES = 8  # on average in a cluster of the lowest level
LARGEST = 8192  # clusters of the lowest level
FACTOR = 8  # between the numbers of clusters of two levels
SMALLEST = 24  # clusters of the highest level, at least


def balanced(x: Whitened, n: int, *, seed: int, precision: Precision = "fp32", sizes: list[int] | None = None) -> Picks:
    """Return n images, one of each cluster of the highest level in turn."""
    hierarchy = hierarchical_kmeans(x, sizes or level_sizes(len(x)), seed=seed, precision=precision)
    leaves, quotas = hierarchy.levels[0], leaf_quotas(hierarchy, n)
    draws = uniforms(("balanced", seed), np.arange(len(x)), 1)[:, 0]
    chosen = np.concatenate(
        [rows[np.argsort(draws[rows], kind="stable")[:quota]] for rows, quota in zip(leaves.members(), quotas.tolist())]
    )
    top = hierarchy.labels(len(hierarchy.levels) - 1)
    positions = chosen[_in_turn(top[chosen], draws[chosen])]
    clusters, sizes_of_top = top[positions], np.bincount(top)
    taken = np.bincount(clusters, minlength=len(sizes_of_top))
    reasons = [
        f"one of {taken[cluster]:,} from cluster {cluster} of {len(taken)}; {sizes_of_top[cluster]:,} images in it"
        for cluster in clusters.tolist()
    ]
    levels = ", ".join(f"{level.k:,}" for level in hierarchy.levels)
    return Picks(
        positions,
        clusters,
        1 - leaves.distances[positions],
        reasons,
        f"hierarchical k-means with resampling ({levels} clusters), and equally many images from each cluster",
        "cosine to the centroid of the lowest level",
    )


def level_sizes(n: int) -> list[int]:
    """Return the numbers of clusters of the levels for n images, falling."""
    sizes = [max(1, min(n // IMAGES, LARGEST))]
    while sizes[-1] // FACTOR >= SMALLEST:
        sizes.append(sizes[-1] // FACTOR)
    return sizes


def leaf_quotas(hierarchy: Hierarchy, n: int) -> Int64[np.ndarray, " k"]:
    """Return how many of n images each cluster of the lowest level gives."""
    images = [np.bincount(hierarchy.labels(i), minlength=level.k) for i, level in enumerate(hierarchy.levels)]
    quotas = equal_shares(images[-1], n)
    for i in range(len(hierarchy.levels) - 1, 0, -1):
        below = np.zeros(len(images[i - 1]), np.int64)
        for children, quota in zip(hierarchy.levels[i].members(), quotas.tolist()):
            below[children] = equal_shares(images[i - 1][children], quota)
        quotas = below
    return quotas


def _in_turn(clusters: Int64[np.ndarray, " m"], draws: np.ndarray) -> Int64[np.ndarray, " m"]:
    """Return an order that takes one image of each cluster in turn, so that each beginning of it is balanced too."""
    by_cluster = np.lexsort((draws, clusters))
    labels = clusters[by_cluster]
    turns = np.arange(len(labels)) - np.searchsorted(labels, labels)
    order: Int64[np.ndarray, " m"] = by_cluster[np.lexsort((labels, turns))]
    return order
