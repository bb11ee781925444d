"""Cluster a collection by the features of a base model."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt

from .. import failpoints
from ..clustering.clusters import Clusters, Sample
from ..clustering.kmeans import assign, kmeans
from ..data.images import Images
from ..errors import UsageError
from ..nets.net import Layer
from ..nets.trained import Trained
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext, Summary
from ..train.encode import encode
from .learning import pixels_of, sample

SMALLEST = 128  # images: a cluster with fewer is merged into its nearest neighbor


@dataclass(frozen=True, kw_only=True)
class Divide:
    """The recipe of a division: spherical k-means of the features that a layer of the base gives. The centroids are fitted on
    a `sample` of the images, with so many `rounds` and `restarts`; every image is assigned. A cluster with fewer than
    `smallest` images is merged into its nearest neighbor."""

    k: int = 5
    layer: Layer = "hidden"
    sample: PositiveInt = 1_500_000
    rounds: PositiveInt = 30
    restarts: PositiveInt = 3
    smallest: int = SMALLEST
    seed: int = 0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"clusters.k={self.k}: at least 1")
        if self.sample < self.k:
            raise UsageError(
                f"clusters.sample={self.sample}: too few images for clusters.k={self.k} to be found in them"
            )

    def remaining(self, n: int) -> int:
        """The most clusters that can be left of n images, once those that are too small are merged."""
        return min(self.k, max(1, n // max(1, self.smallest)))


@dataclass(frozen=True)
class ClusterSummary(Summary):
    """The summary of `divide`: the number of clusters, their sizes in images, and the sum of distances that k-means left."""

    k: int
    sizes: list[int]
    inertia: float


def plan_divide(base: Trained, images: Images, recipe: Divide) -> Plan[Clusters]:
    """The plan of `divide`: clusters of equal size, as their sizes are not known yet."""
    n, k = len(images), recipe.remaining(len(images))
    labels = np.arange(n) * k // max(1, n)
    nothing = np.zeros((k, 1), np.float32)
    return Plan(Clusters(nothing, labels.astype(np.int64), np.zeros(n, np.float32), images.names))


@planned_by(plan_divide)
def divide(context: StageContext, base: Trained, images: Images, recipe: Divide) -> Result[Clusters]:
    """Cluster a collection by the features that the base gives of it."""
    pixels = pixels_of(context, images, base.input_spec)
    positions = sample(len(images), recipe.sample, recipe.seed)

    def look(at: NDArray[np.int64]) -> torch.Tensor:
        return encode(base.net, base.input_spec, pixels, context.machine, layer=recipe.layer, positions=at)

    features, precision = look(positions), context.machine.precision
    failpoints.at("divide.seen")
    fitted = kmeans(
        features, recipe.k, seed=recipe.seed, rounds=recipe.rounds, restarts=recipe.restarts, precision=precision
    )
    failpoints.at("divide.fitted")
    labels, distances = np.empty(len(images), np.int64), np.empty(len(images), np.float32)
    for at in np.array_split(np.arange(len(images)), -(-len(images) // 65536)):
        seen = features[at] if len(positions) == len(images) else look(at)
        near, far = assign(seen, fitted.centroids, precision=precision)
        labels[at], distances[at] = near.numpy(), far.numpy()
    failpoints.at("divide.assigned")
    kept = Sample(positions, features.numpy().astype(np.float16))
    clusters = Clusters(fitted.centroids.numpy(), labels, distances, images.names, kept).merge_small(recipe.smallest)
    sizes = [int(size) for size in clusters.sizes]
    return Result(clusters, ClusterSummary(clusters.k, sizes, float(fitted.inertia)))
