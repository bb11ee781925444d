"""k-means: Lloyd's rounds over every row, from k-means++ seeds, with the same bits on any number of threads.

Two things would depend on threads, and neither does. Sums of rows are integers, so their order is all one. A matrix
product rounds as it likes, so it only proposes: of the centroids that its error can't tell apart, distances added up row
by row in float64 choose. So its precision changes nothing but the time.

In spherical mode (cosine) rows and centroids have length one. Between such the nearest is the one with the largest dot
product and |x - c|^2 = 2 (1 - cos), so squared Euclidean distances serve both modes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from ..errors import DataError
from ..log import info, warning
from ..machine import Precision
from ..rng import uniforms
from ..signals import stop_if_requested
from .held import Held
from .rows import KEPT, SCALE, Features, Rows

SAME = 2.0**-40  # rows whose squared distance is less, for rows of length one, are one and the same
EXTRA = 20  # rounds granted beyond the last, while a cluster is empty
SAMPLE = 8192  # rows that seeds are drawn from, or 32 a cluster

Points = Rows | Held


@dataclass(frozen=True, eq=False)
class KMeans:
    """The centroids, and for each row the nearest of them and how far it is: 1 - cosine, or squared Euclidean."""

    centroids: Float[Tensor, "k d"]
    labels: Int64[Tensor, " n"]
    distances: Float[Tensor, " n"]
    inertia: float
    rounds: int

    @property
    def sizes(self) -> Int64[Tensor, " k"]:
        return torch.bincount(self.labels, minlength=len(self.centroids))


def kmeans(
    x: Features,
    k: int,
    *,
    seed: int,
    rounds: int = 30,
    restarts: int = 3,
    spherical: bool = True,
    precision: Precision = "fp32",
    sample: int = SAMPLE,
    kept: int = KEPT,
) -> KMeans:
    """The best of several starts, by the sum of distances; no cluster is empty. Rows and centroids are of length one
    when spherical.

    x [n, d] is a tensor or an array of any float type. One mapped from a disk is read block by block, once a round: then
    memory holds 30 bytes a row, the centroids' sums for each thread (8 k d bytes), the sample that seeds come from, blocks
    of some 20 MB, and for more than 16 clusters a copy in `precision` if it takes no more than `kept` bytes. `precision`
    is that of the products, and changes no bit of the result.
    """
    assert k >= 1 and rounds >= 1 and restarts >= 1
    rows = _rows(x, spherical, precision, spherical, kept)
    fits = (_fit(rows, _seeds(rows, k, (seed, start), sample), rounds, spherical) for start in range(restarts))
    best = min(fits, key=lambda fit: (bool((fit.sizes == 0).any()), fit.inertia))
    _judge(best.sizes)
    return best


def assign(
    x: Features, centroids: Float[Tensor, "k d"], spherical: bool = True, precision: Precision = "fp32"
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest centroid to each row and how far it is; of centroids equally near, the first."""
    rows = _rows(x, spherical, precision)
    assert not spherical or (centroids.norm(dim=1) - 1).abs().max() < 1e-3, "centroids of length one are wanted"
    labels, centroids = _unlabeled(rows), centroids.float()
    rows.relabel(centroids, labels)
    return labels, _distances(rows, centroids, labels, spherical)


def _rows(x: Features, spherical: bool, precision: Precision, directed: bool = False, kept: int = KEPT) -> Points:
    if isinstance(x, Tensor) and not x.is_cpu:
        return Held(x, spherical, directed)
    return Rows(x, spherical, precision, directed, kept)


def _unlabeled(rows: Points) -> Int64[Tensor, " n"]:
    return torch.full((len(rows),), -1, device=rows.device)


def _fit(rows: Points, centroids: Float32[Tensor, "k d"], rounds: int, spherical: bool) -> KMeans:
    """Lloyd's rounds until no label changes; the labels are those of the centroids returned."""
    k, labels, done, repaired = len(centroids), _unlabeled(rows), 0, 0
    total = torch.zeros(centroids.shape, dtype=torch.int64, device=rows.device)
    moved, sizes = rows.relabel(centroids, labels, total), torch.bincount(labels, minlength=k)
    while moved and (done < rounds or (done < rounds + EXTRA and bool((sizes == 0).any()))):
        means = _means(total, sizes, centroids, rows.unit, spherical)
        centroids = _repaired(rows, means, labels, sizes == 0)
        repaired += int((sizes == 0).sum())
        moved, sizes = rows.relabel(centroids, labels, total), torch.bincount(labels, minlength=k)
        done += 1
        stop_if_requested("this stage will begin again")
    if repaired:
        info(f"k-means: {repaired} times a cluster was left without images, and took the one furthest from its own")
    distances = _distances(rows, centroids, labels, spherical)
    # numpy adds up in one order, whatever the number of threads
    return KMeans(centroids, labels, distances, float(distances.double().cpu().numpy().sum()), done)


def _means(total: Tensor, sizes: Tensor, old: Tensor, unit: float, spherical: bool) -> Tensor:
    """The mean of each cluster's rows, of length one when spherical. Rows that cancel out, or no rows, leave it as it
    was."""
    mean = total.double() * (unit / SCALE) / sizes.clamp(min=1)[:, None]
    moved = F.normalize(mean, eps=1e-300) if spherical else mean
    kept = mean.square().sum(1) <= SAME if spherical else sizes == 0
    return torch.where(kept[:, None], old, moved.float())


def _repaired(rows: Points, centroids: Tensor, labels: Tensor, empty: Bool[Tensor, " k"]) -> Tensor:
    """Each empty cluster becomes the row furthest from its own centroid, and from those that were just moved so: the
    same row, or a copy of it, is never taken twice."""
    if not empty.any():
        return centroids
    centroids, far = centroids.clone(), rows.squared(centroids, labels)
    for cluster in empty.nonzero().flatten().tolist():
        centroids[cluster] = _row(rows, int(far.argmax()))
        far = torch.minimum(far, _to_one(rows, centroids[cluster]))
    return centroids


def _row(rows: Points, position: int) -> Float32[Tensor, " d"]:
    return rows.take(np.array([position]))[0]


def _to_one(rows: Points, point: Float32[Tensor, " d"]) -> Float[Tensor, " n"]:
    return rows.squared(point[None], torch.zeros(len(rows), dtype=torch.int64, device=rows.device))


def _distances(rows: Points, centroids: Tensor, labels: Tensor, spherical: bool) -> Float[Tensor, " n"]:
    return (rows.squared(centroids, labels) / (2 if spherical else 1)).float()


def _seeds(rows: Points, k: int, seed: tuple[int, int], sample: int = SAMPLE) -> Float32[Tensor, "k d"]:
    """k-means++ on a sample; where that has fewer than k different rows, the rest from all rows."""
    n = len(rows)
    positions = np.arange(n)
    size = min(n, max(sample, 32 * k))
    chosen = uniforms(("kmeans sample", *seed), positions, 1)[:, 0].argsort(kind="stable")[:size]
    draws = uniforms(("kmeans seeds", *seed), positions[:k], 1)[:, 0].tolist()
    few = _rows(rows.take(chosen), False, "fp32")
    seeds = _plus_plus(few, few.take(np.array([0])), k, draws)
    seeds = seeds if len(seeds) == k else _plus_plus(rows, seeds, k, draws)
    if len(seeds) < k:
        found = len(seeds)
        raise DataError(
            f"asked for {k:,} clusters, but there are {found:,} distinct images among {n:,}; "
            f"type clusters.k={found} or less"
        )
    return seeds


def _plus_plus(rows: Points, seeds: Tensor, k: int, draws: list[float]) -> Float32[Tensor, "m d"]:
    """`seeds` and more rows, each drawn with probability in proportion to its squared distance from those before it,
    until there are k, or no row differs from them all."""
    same = SAME * rows.longest**2
    far = torch.stack([_to_one(rows, seed) for seed in seeds]).amin(0)
    for draw in draws[len(seeds) : k]:
        weights = torch.where(far > same, far, 0).cpu().cumsum(0)
        if weights[-1] == 0:
            break
        row = _row(rows, int(torch.searchsorted(weights, draw * weights[-1], right=True)))
        seeds = torch.cat([seeds, row[None]])
        far = torch.minimum(far, _to_one(rows, row))
    return seeds


def _judge(sizes: Int64[Tensor, " k"]) -> None:
    """Refuse an empty cluster, and warn of a division that hardly divides."""
    if (sizes == 0).any():
        filled = int((sizes > 0).sum())
        raise DataError(f"{len(sizes) - filled} of {len(sizes)} clusters stayed empty; type clusters.k={filled}")
    if len(sizes) > 1 and (share := float(sizes.max() / sizes.sum())) > 0.9:
        warning(f"one cluster of {len(sizes)} holds {share:.0%} of the images")
