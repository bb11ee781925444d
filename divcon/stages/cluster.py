"""Cluster a collection by the features of a base model."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from .. import failpoints
from ..clustering.clusters import Clusters, Sample
from ..clustering.hierarchy import hierarchical_kmeans
from ..clustering.kmeans import assign, kmeans
from ..clustering.rows import COPY_BYTES, FEW, Features
from ..config import LATER
from ..data.images import Images
from ..errors import UsageError
from ..machine import Precision
from ..nets.net import Layer
from ..nets.trained import Trained
from ..runs.folder import ASSIGNED, SAMPLE
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext, Summary
from ..train.encode import encode
from ..train.streamed_rows import BLOCK, RowsAt, stream_rows
from .learning import EncodingPlan, pixels_of, sample

Positions = Int64[np.ndarray, " b"]
ASSIGNMENT = np.dtype([("label", "<i8"), ("distance", "<f4")])
TABLE = 60  # bytes an image in clusters.parquet, about: its path, label and distance
SMALLEST = 128  # images: a cluster with fewer is merged into its nearest neighbor


@dataclass(frozen=True, kw_only=True)
class Divide:
    """The recipe of a division: spherical k-means of the features that a layer of the base gives. The centroids are fitted on
    a `sample` of the images, with so many `rounds` and `restarts`; every image is assigned. A cluster with fewer than
    `smallest` images is merged into its nearest neighbor.

    `levels` are numbers of clusters, falling, of levels below the `k` clusters: then the centroids are those of hierarchical
    k-means (divcon/clustering/hierarchy.py), which has its own rounds."""

    k: int = 5
    layer: Layer = "hidden"
    sample: PositiveInt = 1_500_000
    rounds: PositiveInt = 30
    restarts: PositiveInt = 3
    smallest: int = SMALLEST
    seed: int = 0
    levels: tuple[PositiveInt, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"clusters.k={self.k}: at least 1")
        numbers = [self.sample, *self.levels, self.k]
        if self.levels and not all(above < below for below, above in itertools.pairwise(numbers)):
            raise UsageError(
                f"clusters.levels={list(self.levels)}: numbers that fall, from below clusters.sample={self.sample} to above "
                f"clusters.k={self.k}; for example clusters.levels=[{20 * self.k},{5 * self.k}]"
            )
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
    clusters = Clusters(nothing, labels.astype(np.int64), np.zeros(n, np.float32), images.names)
    return Plan(clusters, encoding=_plan_encoding(base, n, recipe))


def _plan_encoding(base: Trained, n: int, recipe: Divide) -> EncodingPlan:
    """The sample is encoded, and, where it is not everything, each image once more. In memory are 30 bytes a row of the sample
    (kmeans says so), its copy in low precision, and a block of rows in float32 and float16."""
    rows = min(n, recipe.sample)

    def held_bytes(width: int) -> float:
        copy = min(4.0 * rows * width, COPY_BYTES) if recipe.k > FEW else 0.0
        return 30.0 * rows + copy + 10.0 * min(n, BLOCK) * width

    def disk_bytes(width: int) -> float:
        return (2.0 * width + 8) * rows + float(n) * (TABLE + ASSIGNMENT.itemsize * (rows < n))

    return EncodingPlan(
        base,
        images=n,
        encoded=rows + n * (rows < n),
        layer=recipe.layer,
        rows=rows,
        finish=lambda x, machine: fit_centroids(x, few_clusters(recipe, len(x)), machine.precision),
        held_bytes=held_bytes,
        disk_bytes=disk_bytes,
    )


def few_clusters(recipe: Divide, n: int) -> Divide:
    """The recipe for a small number of rows: there are at most so many clusters."""
    return replace(recipe, k=min(recipe.k, n), levels=())


@planned_by(plan_divide)
def divide(context: StageContext, base: Trained, images: Images, recipe: Divide) -> Result[Clusters]:
    """Cluster a collection by the features that the base gives of it."""
    positions, precision = sample(len(images), recipe.sample, recipe.seed), context.machine.precision
    features_at = _encoder(context, base, images, recipe.layer)
    kept = Sample(positions, _rows(context, SAMPLE, positions, lambda at: features_at(at).astype(np.float16)))
    failpoints.at("divide.seen")
    centroids, inertia = fit_centroids(kept.features, recipe, precision)
    failpoints.at("divide.fitted")
    if len(positions) == len(images):
        rows = assigned(kept.features, centroids, precision)
    else:
        everything = np.arange(len(images))
        rows = _rows(context, ASSIGNED, everything, lambda at: assigned(features_at(at), centroids, precision))
    failpoints.at("divide.assigned")
    labels, distances = rows["label"].copy(), rows["distance"].copy()
    clusters = Clusters(centroids.numpy(), labels, distances, images.names, kept).merge_small(recipe.smallest)
    sizes = [int(size) for size in clusters.sizes]
    return Result(clusters, ClusterSummary(clusters.k, sizes, inertia))


def _encoder(
    context: StageContext, base: Trained, images: Images, layer: Layer
) -> Callable[[Positions], Float32[np.ndarray, "b d"]]:
    """Return a function from the positions of images to the features that the base gives of them."""
    pixels = pixels_of(context, images, base.input_spec)

    def features_at(at: Positions) -> Float32[np.ndarray, "b d"]:
        features: NDArray[np.float32] = encode(
            base.net, base.input_spec, pixels, context.machine, layer=layer, positions=at
        ).numpy()
        return features

    return features_at


def _rows(context: StageContext, name: str, positions: Positions, rows_at: RowsAt) -> NDArray[Any]:
    """Compute rows for the images at some positions into a file of the stage; go on with it if that was begun before."""
    return stream_rows(context.folder / name, positions, rows_at, context.key_digest, context.check_owner)


def fit_centroids(x: Features, recipe: Divide, precision: Precision) -> tuple[Float32[Tensor, "k d"], float]:
    """Return the centroids of the rows, and the sum of the distances of rows from the nearest of them."""
    if not recipe.levels:
        fit = kmeans(x, recipe.k, seed=recipe.seed, rounds=recipe.rounds, restarts=recipe.restarts, precision=precision)
        return fit.centroids, float(fit.inertia)
    levels = hierarchical_kmeans(x, [*recipe.levels, recipe.k], seed=recipe.seed, precision=precision).levels
    centroids = levels[-1].centroids
    return centroids, float(assign(x, centroids, precision=precision)[1].double().numpy().sum())


def assigned(features: Features, centroids: Float32[Tensor, "k d"], precision: Precision) -> Shaped[np.ndarray, " n"]:
    """Return the label of each row and its distance from its centroid, as ASSIGNMENT."""
    labels, distances = assign(features, centroids, precision=precision)
    rows = np.empty(len(labels), ASSIGNMENT)
    rows["label"], rows["distance"] = labels.numpy(), distances.numpy()
    return rows
