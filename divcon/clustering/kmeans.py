"""k-means: Lloyd's rounds over all rows, from k-means++ seeds, with the same bits on any number of threads and ranks.

Two results could depend on threads and ranks, and neither does. Sums of rows are integers, so their order does not matter.
Products of matrices round in any order, so they only propose candidates: distances summed row by row in float64 choose
among the centroids that a product's error cannot tell apart. So the precision of products changes nothing but the time.

In spherical mode (cosine) rows and centroids have length one. Then the nearest centroid has the largest dot product,
and |x - c|^2 = 2 (1 - cos), so squared Euclidean distances serve both modes.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from ..errors import DataError
from ..files.text import counted
from ..log import info, progress, warning
from ..machine import Precision
from ..rng import uniforms
from .device_rows import DeviceRows
from .furthest import AnyRows, distances_from, furthest_rows
from .ranks import stop_together
from .rows import AT_ONCE, COPY_BYTES, SCALE, Features, Rows

SAME = 2.0**-40  # unit rows with a smaller squared distance count as equal
EXTRA_ROUNDS = 20  # after the last round, while a cluster is empty
SAMPLE = 8192  # rows that seeds are drawn from, or 32 a cluster if that is more
SINGLY = 512  # up to this many seeds are drawn one by one; more of them in about PASSES passes over the sample
PASSES = 64


class TooFewRowsError(DataError):
    """There are fewer different rows than clusters; `clusters` is a number of clusters that is possible."""

    def __init__(self, message: str, clusters: int) -> None:
        super().__init__(message)
        self.clusters = clusters


@dataclass(frozen=True, eq=False)
class KMeans:
    """The centroids [k, d], the label of each row, and its distance from its centroid: 1 - cosine when spherical, else
    squared Euclidean. `inertia` is the sum of the distances, and `rounds` the number of rounds done."""

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
    copy_bytes: int = COPY_BYTES,
) -> KMeans:
    """Return the fit with the least inertia out of `restarts`; no cluster is empty.

    x [n, d] is a tensor or an array of any float type. When spherical, only the directions of rows count, and centroids
    have length one. Seeds are drawn from `sample` rows. `precision` is that of the products, and changes no bit of the
    result.

    With several ranks, each is called with the same arguments: each reads a share of the rows, and returns the whole fit.

    A mapped file is read block by block, once a round. Memory then holds 30 bytes a row, some 30 k d bytes for the centroids
    and their sums, at most 256 MB for the sums of threads, the sample of the seeds (32 k rows or more, in float32), a block of
    some 20 MB for each thread, and for more than 16 clusters a copy of the rank's rows in `precision`, if it has at most
    `copy_bytes`.

    Raises DataError for rows that are not finite, for zero rows when spherical, and for fewer than k different rows.
    """
    assert k >= 1 and rounds >= 1 and restarts >= 1
    rows = _rows(x, spherical, precision, spherical, copy_bytes)
    fits = (
        _fit(rows, _seeds(rows, k, (seed, start), sample), rounds, spherical, (start, restarts))
        for start in range(restarts)
    )
    best = min(fits, key=lambda fit: (bool((fit.sizes == 0).any()), fit.inertia))
    _check_sizes(best.sizes)
    return best


def assign(
    x: Features, centroids: Float[Tensor, "k d"], spherical: bool = True, precision: Precision = "fp32"
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the number of the nearest centroid to each row, the first of equals, and the distance from it: 1 - cosine
    when spherical, else squared Euclidean. When spherical, the centroids must have length one. Each rank is called with the
    same arguments, and returns the labels of all rows."""
    rows = _rows(x, spherical, precision)
    assert not spherical or (centroids.norm(dim=1) - 1).abs().max() < 1e-3, "centroids must have length one"
    labels, centroids = _unlabeled(rows), centroids.float()
    rows.relabel(centroids, labels)
    distances = _distances(rows, centroids, labels, spherical)
    return rows.shares.gather(labels), rows.shares.gather(distances)


def _rows(
    x: Features,
    spherical: bool,
    precision: Precision,
    refuse_zero: bool = False,
    copy_bytes: int = COPY_BYTES,
    shared: bool = True,
) -> AnyRows:
    if isinstance(x, Tensor) and not x.is_cpu:
        return DeviceRows(x, spherical, refuse_zero, shared)
    return Rows(x, spherical, precision, refuse_zero, copy_bytes, shared)


def _unlabeled(rows: AnyRows) -> Int64[Tensor, " b"]:
    return torch.full((len(rows.own),), -1, device=rows.device)


def _fit(
    rows: AnyRows, centroids: Float32[Tensor, "k d"], rounds: int, spherical: bool, restart: tuple[int, int] = (0, 1)
) -> KMeans:
    """Do Lloyd's rounds until no label changes, or `rounds` are done; the labels are those of the returned
    centroids. `restart` is the number of this fit and that of all fits, for the progress."""
    labels, done, repaired = _unlabeled(rows), 0, 0
    total = torch.zeros(centroids.shape, dtype=torch.int64, device=rows.device)
    moved, sizes = _relabel(rows, centroids, labels, total)
    while moved and (done < rounds or (done < rounds + EXTRA_ROUNDS and bool((sizes == 0).any()))):
        means = _means(rows.shares.sum(total), sizes, centroids, rows.unit, spherical)
        centroids = _repaired(rows, means, labels, sizes == 0)
        repaired += int((sizes == 0).sum())
        moved, sizes = _relabel(rows, centroids, labels, total)
        done += 1
        progress("k-means", restart[0] * rounds + min(done, rounds), restart[1] * rounds, "rounds")
        stop_together(rows.shares, "this stage will begin again")
    if repaired:
        info(f"k-means: {repaired} times a cluster was empty, and got the image furthest from its centroid")
    distances = rows.shares.gather(_distances(rows, centroids, labels, spherical))
    # numpy adds up in one order, whatever the number of threads
    inertia = float(distances.double().cpu().numpy().sum())
    return KMeans(centroids, rows.shares.gather(labels), distances, inertia, done)


def _relabel(rows: AnyRows, centroids: Tensor, labels: Tensor, total: Tensor) -> tuple[int, Int64[Tensor, " k"]]:
    """Bring the labels and sums of the own rows up to date; return how many labels of all rows changed, and the sizes of the
    clusters in all rows."""
    moved = torch.tensor(rows.relabel(centroids, labels, total))
    sizes = torch.bincount(labels, minlength=len(centroids))
    return int(rows.shares.sum(moved)), rows.shares.sum(sizes)


def _means(total: Tensor, sizes: Tensor, old: Tensor, unit: float, spherical: bool) -> Tensor:
    """Return the mean of each cluster's rows, of length one when spherical. A cluster without rows, or whose rows
    cancel out, keeps its old centroid."""
    some = [slice(start, start + AT_ONCE) for start in range(0, len(old), AT_ONCE)]
    return torch.cat([_means_of(total[part], sizes[part], old[part], unit, spherical) for part in some])


def _means_of(total: Tensor, sizes: Tensor, old: Tensor, unit: float, spherical: bool) -> Tensor:
    mean = total.double() * (unit / SCALE) / sizes.clamp(min=1)[:, None]
    new = F.normalize(mean, eps=1e-300) if spherical else mean
    unchanged = mean.square().sum(1) <= SAME if spherical else sizes == 0
    return torch.where(unchanged[:, None], old, new.float())


def _repaired(rows: AnyRows, centroids: Tensor, labels: Tensor, empty: Bool[Tensor, " k"]) -> Tensor:
    """Return the centroids, with each empty cluster at the row furthest from its centroid and from the rows just taken:
    so no row, and no copy of it, is taken twice."""
    if not empty.any():
        return centroids
    centroids, distances = centroids.clone(), rows.squared_distances(centroids, labels)
    centroids[empty] = furthest_rows(rows, distances, int(empty.sum()))
    return centroids


def _distances(rows: AnyRows, centroids: Tensor, labels: Tensor, spherical: bool) -> Float[Tensor, " b"]:
    return (rows.squared_distances(centroids, labels) / (2 if spherical else 1)).float()


def _seeds(rows: AnyRows, k: int, seed: tuple[int, int], sample: int = SAMPLE) -> Float32[Tensor, "k d"]:
    """Return k seeds by k-means++ on a sample of the rows; if it has fewer than k different rows, the rest from all
    rows."""
    n = len(rows)
    positions = np.arange(n)
    size = min(n, max(sample, 32 * k))
    chosen = uniforms(("kmeans sample", *seed), positions, 1)[:, 0].argsort(kind="stable")[:size]
    draws = uniforms(("kmeans seeds", *seed), positions[:k], 1)[:, 0].tolist()
    # fewer seeds are drawn sooner by each rank alone than by all together
    sampled = _rows(rows.take(chosen), False, "fp32", shared=k > SINGLY)
    seeds = _plus_plus(sampled, sampled.take(np.array([0])), k, draws)
    seeds = seeds if len(seeds) == k else _plus_plus(rows, seeds, k, draws)
    if len(seeds) < k:
        found = len(seeds)
        raise TooFewRowsError(
            f"asked for {counted(k, 'cluster')}, but there {'is' if found == 1 else 'are'} "
            f"{counted(found, 'distinct image')} among {n:,}; "
            f"type clusters.k={found} or less",
            found,
        )
    return seeds


def _plus_plus(rows: AnyRows, seeds: Tensor, k: int, draws: list[float]) -> Float32[Tensor, "m d"]:
    """Return `seeds` and more rows, until there are k or every row equals one of them. Each is drawn with a probability
    in proportion to its squared distance from the nearest seed.

    For more than SINGLY seeds, the distances are brought up to date after every k // PASSES draws.
    """
    same, at_once = SAME * rows.longest**2, 1 if k <= SINGLY else k // PASSES
    distances = distances_from(rows, seeds)
    while len(seeds) < k:
        weights = rows.shares.gather(torch.where(distances > same, distances, 0)).cpu().cumsum(0)
        if weights[-1] == 0:
            break
        new = draws[len(seeds) : min(k, len(seeds) + at_once)]
        places = torch.searchsorted(weights, torch.tensor(new, dtype=weights.dtype) * weights[-1], right=True)
        drawn = _distinct(rows.take(np.unique(places.cpu().numpy())), same)
        seeds = torch.cat([seeds, drawn])
        distances = torch.minimum(distances, distances_from(rows, drawn))
    return seeds


def _distinct(points: Float32[Tensor, "m d"], same: float) -> Float32[Tensor, "r d"]:
    """Return the points without those that equal one before them."""
    if len(points) == 1:
        return points
    exact = points.double()
    equal = torch.stack([(exact - point).square().sum(1) <= same for point in exact])
    return points[~equal.tril(-1).any(1)]


def _check_sizes(sizes: Int64[Tensor, " k"]) -> None:
    """Raise DataError if a cluster is empty, and warn if one cluster holds nearly all images."""
    if (sizes == 0).any():
        filled = int((sizes > 0).sum())
        raise TooFewRowsError(
            f"{len(sizes) - filled} of {len(sizes)} clusters stayed empty; type clusters.k={filled}", filled
        )
    if len(sizes) > 1 and (share := float(sizes.max() / sizes.sum())) > 0.9:
        warning(f"one cluster of {len(sizes)} holds {share:.0%} of the images")
