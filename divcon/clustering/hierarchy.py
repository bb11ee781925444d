"""k-means of many clusters in two steps, and hierarchical k-means with resampling (Vo et al. 2024, arXiv 2405.15613).

The centroids of k-means lie where the rows lie densely. k-means of these centroids is less drawn to dense regions, and
so is each level above it. So the clusters of the upper levels spread evenly over what there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from ..machine import Precision
from ..rng import seed_for
from .kmeans import KMeans, TooFewRowsError, assign, kmeans
from .rows import Features
from .shares import equal_shares

DIRECT = 2048  # up to this many clusters, all rows are compared with all centroids
ROUNDS = 10  # of k-means
COPY_BYTES = 2**30  # of the rows in low precision, at most
RESTARTS, FEW = 3, 64  # of k-means with at most so many clusters, which more easily misses the best fit
RESAMPLINGS = 10  # of each level above the first, as in the paper
KEPT = 5  # points nearest to each centroid that the next centroids of its level are fitted on


@dataclass(frozen=True, eq=False)
class Level:
    """The centroids of a level, and the label of each point below it: images, or the centroids of the level below."""

    centroids: Float32[Tensor, "k d"]
    labels: Int64[np.ndarray, " m"]
    distances: Float[np.ndarray, " m"]

    @property
    def k(self) -> int:
        return len(self.centroids)

    def members(self) -> list[Int64[np.ndarray, " s"]]:
        """Return the points of each cluster, in rising order."""
        order = np.argsort(self.labels, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.labels, minlength=self.k))[:-1])


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Levels of clusters, the finest one first."""

    levels: tuple[Level, ...]

    def labels(self, level: int) -> Int64[np.ndarray, " n"]:
        """Return the cluster of each image on a level."""
        labels = self.levels[0].labels
        for above in self.levels[1 : level + 1]:
            labels = above.labels[labels]
        return labels


def hierarchical_kmeans(
    x: Features,
    sizes: Sequence[int],
    *,
    seed: int,
    precision: Precision = "fp32",
    resamplings: int = RESAMPLINGS,
    kept: int = KEPT,
) -> Hierarchy:
    """Return levels of clusters: of the rows, of their centroids, of the centroids of these, and so on.

    x [n, d] is compared by cosine. `sizes` are the numbers of clusters, falling; a level has fewer where there are not as
    many different points, and no level is made that would not be smaller than the one below it.
    """
    levels = [kmeans_in_two_steps(x, sizes[0], seed=seed, precision=precision)]
    for i, k in enumerate(sizes[1:], 1):
        below = levels[-1].centroids
        if k < len(below):
            levels.append(_resampled(below, k, seed_for(seed, "level", i), resamplings, kept))
    return Hierarchy(tuple(levels))


def kmeans_in_two_steps(
    x: Features, k: int, *, seed: int, precision: Precision = "fp32", direct: int = DIRECT
) -> Level:
    """Return k clusters of the rows by cosine, or as many as there are different rows.

    More than `direct` clusters are found in two steps: about sqrt(k) clusters, each divided into equally many.
    """
    if k <= direct:
        return _level(fit_at_most(x, k, seed, precision))
    coarse = _level(fit_at_most(x, round(k**0.5), seed, precision))
    members = coarse.members()
    shares = equal_shares(np.array([len(rows) for rows in members]), k)
    centroids, labels, distances = list[Tensor](), np.empty(len(x), np.int64), np.empty(len(x), np.float32)
    for i, (rows, share) in enumerate(zip(members, shares.tolist())):
        fine = fit_at_most(_rows(x, rows), share, seed_for(seed, "group", i), precision)
        labels[rows] = sum(len(part) for part in centroids) + fine.labels.numpy()
        distances[rows] = fine.distances.numpy()
        centroids.append(fine.centroids)
    return Level(torch.cat(centroids), labels, distances)


def fit_at_most(x: Features, k: int, seed: int, precision: Precision = "fp32") -> KMeans:
    """Return spherical k-means with k clusters, or with as many as there are different rows."""
    try:
        return _fit(x, k, seed, precision)
    except TooFewRowsError as error:
        return _fit(x, error.clusters, seed, precision)


def _fit(x: Features, k: int, seed: int, precision: Precision) -> KMeans:
    restarts = RESTARTS if k <= FEW else 1
    return kmeans(x, k, seed=seed, rounds=ROUNDS, restarts=restarts, precision=precision, copy_bytes=COPY_BYTES)


def _resampled(points: Float32[Tensor, "m d"], k: int, seed: int, resamplings: int, kept: int) -> Level:
    """Return k clusters of the points, fitted again and again on the `kept` points nearest to each centroid: in this way
    a dense region has no more weight than a sparse one."""
    level = _level(fit_at_most(points, k, seed))
    for turn in range(resamplings):
        near = nearest_members(level.labels, level.distances, kept)
        centroids = fit_at_most(points[torch.from_numpy(near)], level.k, seed_for(seed, "resampling", turn)).centroids
        labels, distances = assign(points, centroids)
        level = _without_empty(centroids, labels.numpy(), distances.numpy())
    return level


def nearest_members(
    labels: Int64[np.ndarray, " n"], distances: Float[np.ndarray, " n"], count: int
) -> Int64[np.ndarray, " m"]:
    """Return the `count` points of each cluster with the smallest distances, cluster by cluster, the nearest first; of
    equals, the first."""
    order = np.lexsort((distances, labels))
    sorted_labels = labels[order]
    starts = np.searchsorted(sorted_labels, sorted_labels)
    nearest: Int64[np.ndarray, " m"] = order[np.arange(len(order)) - starts < count]
    return nearest


def _without_empty(centroids: Tensor, labels: Int64[np.ndarray, " n"], distances: Float[np.ndarray, " n"]) -> Level:
    filled, labels = np.unique(labels, return_inverse=True)
    return Level(centroids[torch.from_numpy(filled)], labels, distances)


def _level(fit: KMeans) -> Level:
    return Level(fit.centroids, fit.labels.numpy(), fit.distances.numpy())


def _rows(x: Features, positions: Int64[np.ndarray, " m"]) -> Features:
    return x[torch.from_numpy(positions)] if isinstance(x, Tensor) else x[positions]
