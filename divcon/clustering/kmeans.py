"""k-means: Lloyd's rounds over every row, from k-means++ seeds, with the same bits on any number of threads.

Two things would depend on threads, and neither does. Sums of rows are integers, so their order is all one. A matrix
product rounds as it likes, so it only proposes: a row whose two best centroids are as good as level is decided again by
distances added up row by row, in float64.

In spherical mode (cosine) rows and centroids have length one. Between such the nearest is the one with the largest dot
product and |x - c|^2 = 2 (1 - cos), so squared Euclidean distances serve both modes.
"""

import inspect
from dataclasses import dataclass

import numba
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..log import say, warn
from ..rng import uniforms
from ..signals import stop_here

SCALE = 2**32  # fixed point: sums of 2^29 rows fit, and a row is off by 2^-33 at most
LEVEL = 2.0**-16  # scores closer than this, for vectors of length one, may be float32's rounding and no more
SAME = 2.0**-40  # rows whose squared distance is less, for rows of length one, are one and the same
EXTRA = 20  # rounds granted beyond the last, while a cluster is empty


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
    x: Float[Tensor, "n d"],
    k: int,
    *,
    seed: int,
    rounds: int = 30,
    restarts: int = 3,
    spherical: bool = True,
    chunk: int = 16384,
) -> KMeans:
    """The best of several starts, by the sum of distances; no cluster is empty. Rows and centroids are of length one
    when spherical."""
    assert k >= 1 and rounds >= 1 and restarts >= 1
    _check(x, spherical)
    rows = F.normalize(x.float()) if spherical else x.float()
    fits = (_fit(rows, _seeds(rows, k, (seed, start), chunk), rounds, spherical, chunk) for start in range(restarts))
    best = min(fits, key=lambda fit: (bool((fit.sizes == 0).any()), fit.inertia))
    _judge(best.sizes)
    return best


def assign(
    x: Float[Tensor, "n d"], centroids: Float[Tensor, "k d"], spherical: bool = True
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest centroid to each row and how far it is; of centroids equally near, the first."""
    _check(x)
    assert not spherical or (centroids.norm(dim=1) - 1).abs().max() < 1e-3, "centroids of length one are wanted"
    rows = F.normalize(x.float()) if spherical else x.float()
    labels = _nearest(rows, centroids)
    return labels, _distances(rows, centroids, labels, spherical)


def sums(
    x: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], k: int, *, unit: float = 1.0, chunk: int = 16384
) -> tuple[Int64[Tensor, "k d"], Int64[Tensor, " k"]]:
    """The sum of each cluster's rows, in units of `unit` / SCALE, and their number. Integers: parts add up to the same
    bits in any order. No entry of x may be larger than `unit`."""
    assert len(x) * SCALE < 2**62, f"sums of {len(x):,} rows could overflow"
    total = torch.zeros(k, x.shape[1], dtype=torch.int64, device=x.device)
    for rows, own in zip(torch.split(x, chunk), torch.split(labels, chunk)):
        if x.is_cpu:
            _add(total.numpy(), rows.float().numpy(), own.numpy(), np.float32(SCALE / unit))
        else:
            total.index_add_(0, own, (rows.float() * (SCALE / unit)).round().long())
    return total, torch.bincount(labels, minlength=k)


def _add_rows(
    total: NDArray[np.int64], rows: NDArray[np.float32], labels: NDArray[np.int64], scale: np.float32
) -> None:
    # torch's index_add_ makes three passes over memory, and takes 30 times as long
    for i in range(len(rows)):
        sum_of_its_cluster = total[labels[i]]
        for j in range(rows.shape[1]):
            sum_of_its_cluster[j] += np.int64(np.rint(rows[i, j] * scale))


_add = numba.njit(nogil=True)(inspect.unwrap(_add_rows))  # without a checker of shapes, if tests put one around it


def _fit(x: Tensor, centroids: Tensor, rounds: int, spherical: bool, chunk: int) -> KMeans:
    """Lloyd's rounds until no label changes; the labels are those of the centroids returned."""
    k, unit, done, repaired = len(centroids), _unit(x), 0, 0
    labels, changed = _nearest(x, centroids, chunk), True
    total, sizes = sums(x, labels, k, unit=unit, chunk=chunk)
    while changed and (done < rounds or (done < rounds + EXTRA and bool((sizes == 0).any()))):
        means = _means(total, sizes, centroids, unit, spherical)
        centroids = _repaired(x, means, labels, sizes == 0)
        repaired += int((sizes == 0).sum())
        before, labels = labels, _nearest(x, centroids, chunk)
        total, sizes = sums(x, labels, k, unit=unit, chunk=chunk)
        changed, done = not torch.equal(labels, before), done + 1
        stop_here("this stage will begin again")
    if repaired:
        say(f"k-means: {repaired} times a cluster was left without images, and took the one furthest from its own")
    distances = _distances(x, centroids, labels, spherical)
    # numpy adds up in one order, whatever the number of threads
    inertia = float(distances.double().cpu().numpy().sum())
    return KMeans(centroids, labels, distances, inertia, done)


def _unit(x: Tensor) -> float:
    """A power of two that no entry of x exceeds: dividing by it loses nothing."""
    return float(torch.exp2(torch.frexp(x.abs().max()).exponent.double()))


def _means(total: Tensor, sizes: Tensor, old: Tensor, unit: float, spherical: bool) -> Tensor:
    """The mean of each cluster's rows, of length one when spherical. Rows that cancel out, or no rows, leave it as it
    was."""
    mean = total.double() * (unit / SCALE) / sizes.clamp(min=1)[:, None]
    moved = F.normalize(mean, eps=1e-300) if spherical else mean
    kept = mean.square().sum(1) <= SAME if spherical else sizes == 0
    return torch.where(kept[:, None], old, moved.float())


def _repaired(x: Tensor, centroids: Tensor, labels: Tensor, empty: Bool[Tensor, " k"]) -> Tensor:
    """Each empty cluster becomes the row furthest from its own centroid, and from those that were just moved so: the
    same row, or a copy of it, is never taken twice."""
    if not empty.any():
        return centroids
    centroids, far = centroids.clone(), _to_own(x, centroids, labels)
    for cluster in empty.nonzero().flatten().tolist():
        centroids[cluster] = x[far.argmax()]
        far = torch.minimum(far, _to_one(x, centroids[cluster]))
    return centroids


def _nearest(x: Tensor, centroids: Tensor, chunk: int = 16384) -> Int64[Tensor, " n"]:
    """argmin_c |x - c|^2 = argmax_c x.c - |c|^2 / 2, with x and c measured from the centroids' mean, so that little is
    lost when all lie far from the origin."""
    origin = centroids.mean(0)
    shifted = centroids - origin
    half, longest = shifted.square().sum(1) / 2, shifted.norm(dim=1).max()
    found = []
    for rows in torch.split(x, chunk):
        near = rows - origin
        scores = torch.addmm(-half, near, shifted.T)
        best, labels = scores.max(1)
        margin = LEVEL * longest * (near.norm(dim=1) + longest)
        level = scores >= (best - margin)[:, None]
        if int(level.count_nonzero()) > len(rows):
            _decide(labels, rows, centroids, level)
        found.append(labels)
    return torch.cat(found)


def _decide(labels: Tensor, x: Tensor, centroids: Tensor, level: Bool[Tensor, "n k"]) -> None:
    """Set the labels of the rows that have more than one candidate, by exact distances; the first of equals."""
    torn = (level.sum(1) > 1).nonzero().flatten()
    row, cluster = level[torn].nonzero(as_tuple=True)
    far = torch.full((len(torn), len(centroids)), torch.inf, dtype=torch.float64, device=x.device)
    far[row, cluster] = _squared(x, torn[row], centroids, cluster)
    labels[torn] = far.argmin(1)


def _squared(x: Tensor, rows: Tensor, centroids: Tensor, labels: Tensor) -> Float[Tensor, " m"]:
    """|x[rows_i] - centroids[labels_i]|^2 for each i, in float64, each added up by itself."""
    pairs = zip(torch.split(rows, block := max(1, 2**19 // x.shape[1])), torch.split(labels, block))
    return torch.cat([(x[i] - centroids[c]).double().square().sum(1) for i, c in pairs])


def _to_own(x: Tensor, centroids: Tensor, labels: Tensor) -> Float[Tensor, " n"]:
    return _squared(x, torch.arange(len(x), device=x.device), centroids, labels)


def _to_one(x: Tensor, point: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    return _to_own(x, point[None], torch.zeros(len(x), dtype=torch.int64, device=x.device))


def _distances(x: Tensor, centroids: Tensor, labels: Tensor, spherical: bool) -> Float[Tensor, " n"]:
    return (_to_own(x, centroids, labels) / (2 if spherical else 1)).float()


def _seeds(x: Tensor, k: int, seed: tuple[int, int], chunk: int) -> Float[Tensor, "k d"]:
    """k-means++ on a sample; where that has fewer than k different rows, the rest from all rows."""
    n = len(x)
    size = min(n, max(chunk // 2, 32 * k))
    positions = torch.arange(n).numpy()
    sample = uniforms(("kmeans sample", *seed), positions, 1)[:, 0].argsort(kind="stable")[:size]
    draws = uniforms(("kmeans seeds", *seed), positions[:k], 1)[:, 0].tolist()
    few = x[torch.from_numpy(sample).to(x.device)]
    seeds = _plus_plus(few, few[:1], k, draws)
    seeds = seeds if len(seeds) == k else _plus_plus(x, seeds, k, draws)
    if len(seeds) < k:
        found = len(seeds)
        raise DataError(
            f"asked for {k:,} clusters, but there are {found:,} distinct images among {n:,}; "
            f"type clusters.k={found} or less"
        )
    return seeds


def _plus_plus(x: Tensor, seeds: Tensor, k: int, draws: list[float]) -> Float[Tensor, "m d"]:
    """`seeds` and more rows of x, each drawn with probability in proportion to its squared distance from those before
    it, until there are k, or no row differs from them all."""
    same = SAME * float(x.double().square().sum(1).max())
    far = torch.stack([_to_one(x, seed) for seed in seeds]).amin(0)
    for draw in draws[len(seeds) : k]:
        weights = torch.where(far > same, far, 0).cpu().cumsum(0)
        if weights[-1] == 0:
            break
        row = torch.searchsorted(weights, draw * weights[-1], right=True)
        seeds = torch.cat([seeds, x[row][None]])
        far = torch.minimum(far, _to_one(x, x[row]))
    return seeds


def _check(x: Tensor, spherical: bool = False) -> None:
    """Refuse rows that can't be placed: numbers that are not finite, and (to fit by angle) rows that are all zero."""
    if len(x) == 0:
        raise DataError("there are no images to cluster")
    sound = torch.cat([part.isfinite().all(1) for part in torch.split(x, 16384)])
    if not sound.all():
        first = int((~sound).nonzero()[0])
        raise DataError(f"the features of image {first} are not finite numbers ({int((~sound).sum()):,} such images)")
    if spherical and not (directed := x.float().norm(dim=1) > 1e-12).all():
        first = int((~directed).nonzero()[0])
        raise DataError(f"the features of image {first} are all zero, so they point nowhere: has the model collapsed?")


def _judge(sizes: Int64[Tensor, " k"]) -> None:
    """Refuse an empty cluster, and warn of a division that hardly divides."""
    if (sizes == 0).any():
        filled = int((sizes > 0).sum())
        raise DataError(f"{len(sizes) - filled} of {len(sizes)} clusters stayed empty; type clusters.k={filled}")
    if len(sizes) > 1 and (share := float(sizes.max() / sizes.sum())) > 0.9:
        warn(f"one cluster of {len(sizes)} holds {share:.0%} of the images")
