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
from ..runs.run import StageContext
from ..train.encode import encode
from .learning import pixels_of, sample

SMALLEST = 128  # images: a cluster with fewer is merged into its nearest neighbor


@dataclass(frozen=True, kw_only=True)
class Divide:
    """k-means on what the base sees at `place`. The centroids are fitted on a `sample`; every image is assigned."""

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


def divide(context: StageContext, base: Trained, images: Images, recipe: Divide) -> Clusters:
    """Cluster a collection by what the base model sees in it."""
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
    context.notes |= {
        "k": clusters.k,
        "sizes": [int(size) for size in clusters.sizes],
        "inertia": float(fitted.inertia),
    }
    return clusters
