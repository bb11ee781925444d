"""Find images that look nearly the same to a network."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64

from ..clustering.hierarchy import kmeans_in_two_steps
from ..clustering.streamed_neighbors import streamed_nearest
from ..machine import Precision
from .picks import Whitened

DIRECT = 16_384  # up to this many images, all pairs are compared
IMAGES = 1024  # on average in a cluster, in which all pairs are compared
HOMES = 2  # clusters that an image belongs to: those with the nearest centroids
BLOCK = 2048  # images that are compared at a time
MARGIN = 1e-3  # of float32 products of rows of length one: many times their rounding

Pairs = tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"], Float32[np.ndarray, " m"]]  # positions, and the cosine


@dataclass(frozen=True, eq=False)
class Group:
    """Positions that pairs of duplicates connect, rising, and the largest cosine of each to another one of the group."""

    positions: Int64[np.ndarray, " m"]
    cosines: Float32[np.ndarray, " m"]


def duplicate_groups(
    x: Whitened, threshold: float, *, seed: int, precision: Precision = "fp32", direct: int = DIRECT
) -> list[Group]:
    """Return the groups of images that pairs with a cosine of at least `threshold` > 0 connect, the largest group first;
    of equally large ones, the one with the first image.

    Up to `direct` images are all compared with each other. Of more images, only pairs are compared that share one of the
    HOMES nearest of n / IMAGES centroids. Pairs are not kept: many copies of one image have very many.
    """
    links = Links(len(x))
    for rows in [np.arange(len(x))] if len(x) <= direct else _homes(x, seed, precision):
        for pairs in _similar_pairs(x, rows, threshold):
            links.add(*pairs)
    return links.groups()


class Links:
    """Images 0 to n - 1 and links between them: disjoint sets, each with its smallest member as its root."""

    def __init__(self, n: int) -> None:
        self.parents, self.nearest = np.arange(n), np.zeros(n, np.float32)

    def add(self, a: Int64[np.ndarray, " m"], b: Int64[np.ndarray, " m"], cosines: Float32[np.ndarray, " m"]) -> None:
        """Connect each a with its b."""
        np.maximum.at(self.nearest, a, cosines)
        np.maximum.at(self.nearest, b, cosines)
        roots = np.sort(np.stack([self.roots(a), self.roots(b)]), axis=0)
        while (roots[0] < roots[1]).any():
            np.minimum.at(self.parents, roots[1], roots[0])
            roots = np.sort(np.stack([self.roots(roots[0]), self.roots(roots[1])]), axis=0)

    def roots(self, members: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        roots: Int64[np.ndarray, " m"] = self.parents[members]
        while (roots != self.parents[roots]).any():
            roots = self.parents[roots]
        self.parents[members] = roots
        return roots

    def groups(self) -> list[Group]:
        """Return the connected images, the largest group first."""
        linked = np.flatnonzero(self.nearest > 0)
        roots = self.roots(linked)
        order = linked[np.argsort(roots, kind="stable")]
        starts = np.flatnonzero(np.diff(self.roots(order))) + 1
        groups = np.split(order, starts) if len(order) else []
        return [Group(rows, self.nearest[rows]) for rows in sorted(groups, key=lambda rows: (-len(rows), int(rows[0])))]


def _homes(x: Whitened, seed: int, precision: Precision) -> list[Int64[np.ndarray, " s"]]:
    """Return the positions of the images of each cluster; each image is in HOMES of them."""
    centroids = kmeans_in_two_steps(x, len(x) // IMAGES, seed=seed, precision=precision).centroids
    homes = streamed_nearest(x, centroids, min(HOMES, len(centroids)), precision)[1].numpy()
    order = np.argsort(homes.ravel(), kind="stable")
    sizes = np.bincount(homes.ravel(), minlength=len(centroids))
    return np.split(order // homes.shape[1], np.cumsum(sizes)[:-1])


def _similar_pairs(x: Whitened, rows: Int64[np.ndarray, " s"], threshold: float) -> Iterator[Pairs]:
    """Yield the similar pairs among these rows, which rise. Products in float32 propose pairs, exact ones decide."""
    for start in range(0, len(rows), BLOCK):
        first = rows[start : start + BLOCK]
        for other in range(start, len(rows), BLOCK):
            second = rows[other : other + BLOCK]
            products = _float(x[first]) @ _float(x[second]).T
            i, j = (products >= threshold - MARGIN).nonzero(as_tuple=True)
            a, b = first[i.numpy()], second[j.numpy()]
            yield _exact(x, a[a < b], b[a < b], threshold)


def _exact(x: Whitened, a: Int64[np.ndarray, " m"], b: Int64[np.ndarray, " m"], threshold: float) -> Pairs:
    cosines = np.empty(len(a))
    for start in range(0, len(a), BLOCK):
        part = slice(start, start + BLOCK)
        cosines[part] = np.einsum("ij,ij->i", x[a[part]].astype(np.float64), x[b[part]].astype(np.float64))
    similar = cosines >= threshold
    return a[similar], b[similar], cosines[similar].astype(np.float32)


def _float(x: Whitened) -> torch.Tensor:
    return torch.from_numpy(x.astype(np.float32))
