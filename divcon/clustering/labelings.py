"""Labels that k-means makes while a network learns: their agreement with the labels before, and an equal share of
each."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import DataError, FaultError
from ..files.text import counted
from .kmeans import KMeans, kmeans


def cluster_features(
    features: Float[Tensor, "n d"], k: int, seed: int, rounds: int, *, spherical: bool, advice: str
) -> KMeans:
    """Return k-means of the features [n, d] of a network in training. Raises FaultError, with `advice`, when they have
    fewer than k different rows, or are not finite."""
    try:
        return kmeans(features, k, seed=seed, rounds=rounds, restarts=1, spherical=spherical)
    except DataError as error:
        raise FaultError(
            f"the network gives different images features too similar for {counted(k, 'cluster')}; {advice}"
        ) from error


def normalized_mutual_information(a: Int64[Tensor, "n"], b: Int64[Tensor, "n"]) -> float:
    """Return the mutual information of two labelings of the same images over the mean of their entropies, in 0..1.

    It is 1 when the labelings differ in names only, and 0 when one of them has a single class and the other has more.
    """
    both = entropy(a) + entropy(b)
    return 1.0 if both == 0 else 2 * mutual_information(a, b) / both


def mutual_information(a: Int64[Tensor, "n"], b: Int64[Tensor, "n"]) -> float:
    """Return the mutual information of two labelings of the same images in nats."""
    return max(0.0, entropy(a) + entropy(b) - entropy(torch.stack([a, b])))


def entropy(labels: Int64[Tensor, "*m n"]) -> float:
    """Return the entropy of labels in nats; for several rows of labels, their joint entropy."""
    sizes = torch.unique(labels, dim=-1, return_counts=True)[1].double()
    shares = sizes / sizes.sum()
    return -float(torch.xlogy(shares, shares).sum())


def resample_equally(labels: Int64[Tensor, "n"]) -> Int64[Tensor, "n"]:
    """Return n random positions of images, with equally many of each class, give or take one (DeepCluster, section
    3.3).

    A large class gives some of its images, a small one gives images several times. Random numbers are torch's.
    """
    names, sizes = torch.unique(labels, return_counts=True)
    most = len(labels) // len(names) + 1
    by_class = torch.split(torch.argsort(labels, stable=True), sizes.tolist())
    positions = torch.cat([_draw(members, most) for members in by_class])
    return positions[torch.randperm(len(positions))[: len(labels)]]


def _draw(members: Int64[Tensor, "m"], n: int) -> Int64[Tensor, "n"]:
    if len(members) <= n:
        return members[torch.randint(len(members), (n,))]
    return members[torch.randperm(len(members))[:n]]
