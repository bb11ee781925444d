"""Clusters against labels: k-means of each layer, the classes that its clusters have, and mutual information (DnC, table 6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from ...clustering.kmeans import assign, kmeans
from ...errors import DataError, TooFewError
from ...log import info, share_of
from ...runs.evals import TaskScores
from ..parts import Parts
from .contract import Row, Task, Trial

FEWEST = 4  # training images in a cluster, on average


@dataclass(frozen=True, kw_only=True)
class Clusters(Task):
    """The accuracy of the class that most training images in the nearest cluster have; of equals, the first class.

    Spherical k-means of the training images gives the clusters. There are as many as classes, and each of `numbers`, and each
    of `per_class` times the number of classes, unless a cluster would have fewer than FEWEST images. The mutual information of
    clusters and classes is that of the training images, in bits, as the paper has it. Random parts of the same sizes show what
    is chance: the mean of some `draws`.
    """

    about = "k-means of each layer: the accuracy of its clusters' classes, and mutual information"
    whitens = True
    numbers: tuple[PositiveInt, ...] = (5, 10, 30)
    per_class: tuple[PositiveInt, ...] = (10,)
    draws: PositiveInt = 5

    def score(self, trial: Trial) -> TaskScores:
        classes, features = len(set(trial.labels[trial.train].tolist())), trial.compared()
        numbers, parts = self._numbers(len(trial.train), classes), dict[tuple[str, int], Parts]()
        for i, each in enumerate(features):
            with share_of(i, len(features)), trial.machine.use():
                x = each.of(trial.features_of(each.layer))
                parts |= {(each.name, k): found for k, found in _divided(x, numbers, trial)}
        name = features[0].name
        if (name, classes) not in parts:
            raise TooFewError(f"there are too few different training images for {classes} clusters; give more images")
        scores = trial.accuracy_scores(parts[name, classes].predicted, {})
        rows = [self._row(*key, found, trial.seed) for key, found in parts.items()]
        return replace(scores, metric=f"top-1 of {classes} clusters of the {name}", table=rows)

    def _numbers(self, n: int, classes: int) -> list[int]:
        """Return the numbers of clusters for n images."""
        wanted = (*self.numbers, *(times * classes for times in self.per_class))
        return sorted({classes, *(k for k in wanted if 2 <= k <= n // FEWEST)})

    def _row(self, name: str, k: int, parts: Parts, seed: int) -> Row:
        random = [parts.at_random(seed, draw) for draw in range(self.draws)]
        return {
            "features": name,
            "clusters": k,
            "top-1": parts.top1,
            "by chance": fmean(each.top1 for each in random),
            "purity": parts.purity,
            "class together": parts.together,
            "normalized": parts.normalized,
            "bits": parts.bits,
            "bits by chance": fmean(each.bits for each in random),
        }


def _divided(x: Float[Tensor, "n d"], numbers: Sequence[int], trial: Trial) -> Iterator[tuple[int, Parts]]:
    """Yield the clusters of the training images, and those nearest to the test images, for each number that is possible."""
    y, precision = torch.from_numpy(trial.labels), trial.machine.precision
    for i, k in enumerate(numbers):
        try:
            with share_of(i, len(numbers)):
                fit = kmeans(x[trial.train], k, seed=trial.seed, precision=precision)
            nearest, _ = assign(x[trial.test], fit.centroids, precision=precision)
            yield k, Parts(fit.labels, y[trial.train], nearest, y[trial.test])
        except DataError as error:
            info(f"no {k} clusters: {error}")


TASKS = {"clusters": Clusters()}
