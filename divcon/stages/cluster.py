"""Cluster a collection by the features of a base model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, Int64
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from .. import failpoints
from ..clustering.clusters import Clusters, Sample
from ..clustering.kmeans import assign, kmeans
from ..data.images import Images
from ..errors import UsageError
from ..files.atomic import atomic_write
from ..log import part_of
from ..nets.net import Layer
from ..nets.trained import Trained
from ..runs.folder import SAMPLE
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext, Summary, by_leader
from ..train.encode import encode
from ..train.target_cache import allocate
from .learning import pixels_of, sample

Positions = Int64[np.ndarray, " b"]
BLOCK = 16384  # images whose features are in memory at a time
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
@by_leader
def divide(context: StageContext, base: Trained, images: Images, recipe: Divide) -> Result[Clusters]:
    """Cluster a collection by the features that the base gives of it."""
    pixels = pixels_of(context, images, base.input_spec)
    positions, precision = sample(len(images), recipe.sample, recipe.seed), context.machine.precision

    def features_at(at: Positions) -> Float32[Tensor, "b d"]:
        return encode(base.net, base.input_spec, pixels, context.machine, layer=recipe.layer, positions=at)

    features = stream_features(context.folder / SAMPLE, positions, features_at)
    failpoints.at("divide.seen")
    fitted = kmeans(
        features, recipe.k, seed=recipe.seed, rounds=recipe.rounds, restarts=recipe.restarts, precision=precision
    )
    failpoints.at("divide.fitted")
    labels, distances = np.empty(len(images), np.int64), np.empty(len(images), np.float32)
    for begin in range(0, len(images), BLOCK):
        at = np.arange(begin, min(begin + BLOCK, len(images)))
        with part_of(begin, len(images)):
            block = features[at] if len(positions) == len(images) else features_at(at)
        nearest, distance = assign(block, fitted.centroids, precision=precision)
        labels[at], distances[at] = nearest.numpy(), distance.numpy()
    failpoints.at("divide.assigned")
    kept = Sample(positions, features)
    clusters = Clusters(fitted.centroids.numpy(), labels, distances, images.names, kept).merge_small(recipe.smallest)
    sizes = [int(size) for size in clusters.sizes]
    return Result(clusters, ClusterSummary(clusters.k, sizes, float(fitted.inertia)))


def stream_features(
    file: Path, positions: Positions, features_at: Callable[[Positions], Float32[Tensor, "b d"]]
) -> Float16[np.ndarray, "m d"]:
    """Write the features of images at some positions, block by block, to a file of float16; return it, mapped.

    Memory holds the features of one block. k-means reads the numbers that are kept, so it can be done again from the file.
    The room of the file is taken first: a disk that fills up later would kill the process at a write.
    """
    rows: np.memmap[Any, np.dtype[np.float16]] | None = None
    with atomic_write(file) as part:
        for begin in range(0, len(positions), BLOCK):
            with part_of(begin, len(positions)):
                block = features_at(positions[begin : begin + BLOCK])
            rows = allocate(part, (len(positions), block.shape[1])) if rows is None else rows
            rows[begin : begin + len(block)] = block.numpy()
        assert rows is not None, "no images"
        rows.flush()
    features: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return features
