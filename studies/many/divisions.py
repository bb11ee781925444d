"""Ways to divide a collection by the features of its base."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from divcon.clustering.clusters import Clusters
from divcon.clustering.hierarchy import hierarchical_kmeans
from divcon.clustering.kmeans import kmeans
from divcon.clustering.labelings import resample_equally
from divcon.losses import sinkhorn
from divcon.rng import seed_for

Labels = Int64[np.ndarray, " n"]
Rows = Float32[np.ndarray, "n d"]
DIVIDING = ("clusters", "balanced", "hierarchy")  # the parts that `parts_of` makes
FINE = (16, 128)  # images in a cluster of the levels of a hierarchy below the last one
EPSILON, ROUNDS, TURNS = (
    0.02,
    50,
    10,
)  # of balancing; with a larger epsilon the largest share of a row tells less of equal sizes


def parts_of(x: Rows, how: str, k: int, smallest: int, seed: int) -> Labels:
    """The part of each image."""
    if how == "balanced":
        return balanced(x, k, seed)
    if how == "hierarchy":
        return hierarchical(x, k, smallest, seed)
    return clusters(x, k, smallest, seed)


def clusters(x: Rows, k: int, smallest: int, seed: int) -> Labels:
    """As `divcon run` divides: spherical k-means, and small clusters merged."""
    fit = kmeans(torch.from_numpy(x), k, seed=seed, rounds=30, restarts=3 if k < 50 else 1)
    return _merged(fit.centroids, fit.labels.numpy(), smallest)


def random_parts(labels: Labels, seed: int) -> Labels:
    """Parts of the same sizes, by chance."""
    return np.random.default_rng([seed, 7]).permutation(labels)


def resampled(labels: Labels, seed: int) -> Labels:
    """As many positions as there are images, with equally many of each part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "resampled"))
        return resample_equally(torch.from_numpy(labels)).numpy()


def hierarchical(x: Rows, k: int, smallest: int, seed: int) -> Labels:
    """k-means of k-means' centroids, resampled: a dense region gets no more parts than a sparse one (2405.15613)."""
    sizes = [max(k, len(x) // each) for each in FINE]
    found = hierarchical_kmeans(torch.from_numpy(x), [*sizes, k], seed=seed)
    last = len(found.levels) - 1
    return _merged(found.levels[last].centroids, found.labels(last), smallest)


def balanced(x: Rows, k: int, seed: int) -> Labels:
    """Clusters of nearly equal sizes: k-means whose assignment is balanced by Sinkhorn-Knopp."""
    rows = F.normalize(torch.from_numpy(x), dim=1)
    centroids = kmeans(rows, k, seed=seed, rounds=30, restarts=3).centroids
    for _ in range(TURNS):
        labels = _balanced_labels(rows, centroids)
        centroids = F.normalize(F.one_hot(labels, k).float().T @ rows, dim=1)
    return _balanced_labels(rows, centroids).numpy()


def _balanced_labels(rows: Float[Tensor, "n d"], centroids: Float[Tensor, "k d"]) -> Int64[Tensor, " n"]:
    return sinkhorn(rows @ F.normalize(centroids, dim=1).T, EPSILON, ROUNDS).argmax(1)


def _merged(centroids: Float[Tensor, "k d"], labels: Labels, smallest: int) -> Labels:
    own = labels.astype(np.int64)
    return Clusters(centroids.numpy(), own, np.zeros(len(own), np.float32), lambda at: []).merge_small(smallest).labels
