"""Labels that are made while a network learns: by k-means, compared with those before, and their classes shown alike."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import DataError, FaultError
from .kmeans import KMeans, kmeans


def clustered(rows: Float[Tensor, "n d"], k: int, seed: int, rounds: int, *, spherical: bool, advice: str) -> KMeans:
    """k-means of what a network sees while it learns. FaultError where that is too little to make k clusters of."""
    try:
        return kmeans(rows, k, seed=seed, rounds=rounds, restarts=1, spherical=spherical)
    except DataError as error:
        raise FaultError(f"the network sees too much alike in different images for {k:,} clusters; {advice}") from error


def shared_information(a: Int64[Tensor, "n"], b: Int64[Tensor, "n"]) -> float:
    """Normalized mutual information of two labelings of the same images, in 0..1: mutual information over the mean of
    the two entropies; 1 when they differ in names only. 0 when one of them has but one class, and the other more."""
    both = torch.stack([a, b])
    joint, of_a, of_b = (entropy(part) for part in (both, a, b))
    return 1.0 if of_a + of_b == 0 else max(0.0, 2 * (of_a + of_b - joint) / (of_a + of_b))


def entropy(labels: Int64[Tensor, "*m n"]) -> float:
    """How much there is to know of an image's label, in nats; of its labels, where there are rows of them."""
    sizes = torch.unique(labels, dim=-1, return_counts=True)[1].double()
    shares = sizes / sizes.sum()
    return -float(torch.xlogy(shares, shares).sum())


def shown_alike(labels: Int64[Tensor, "n"]) -> Int64[Tensor, "n"]:
    """As many positions as there are images, in which each class comes equally often, to one: of a large class some
    images, of a small one some again and again (DeepCluster, section 3.3). Random numbers are torch's."""
    names, sizes = torch.unique(labels, return_counts=True)
    most = len(labels) // len(names) + 1
    by_class = torch.split(torch.argsort(labels, stable=True), sizes.tolist())
    drawn = torch.cat([_drawn(members, most) for members in by_class])
    return drawn[torch.randperm(len(drawn))[: len(labels)]]


def _drawn(members: Int64[Tensor, "m"], n: int) -> Int64[Tensor, "n"]:
    if len(members) <= n:
        return members[torch.randint(len(members), (n,))]
    return members[torch.randperm(len(members))[:n]]
