"""Low-shot VOC07: linear SVMs from few images of each class (Goyal et al. 2019, https://arxiv.org/abs/1905.01235)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from ...runs.evals import TaskScores
from ..average_precision import each_average_precision, mean_of
from ..split import place_in_class
from ..svm import SvmProblem, svm_scores
from .contract import Task, Trial
from .few_shot import images_a_class


@dataclass(frozen=True, kw_only=True)
class FewShotSvm(Task):
    """The mean average precision of one SVM for each class, from `shots` images with the class and (classes - 1) times as many
    without it: the mean over several draws, and their standard deviation.

    C is given, because there are no images to choose it on. A class with fewer images gives all of them. All else is that of the
    task `svm`.
    """

    about = "several classes: a linear SVM for each class from 1 to 96 images of it, the mean of 5 draws"
    truth = "sets"
    shots: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 4, 8, 16, 32, 64, 96)
    draws: PositiveInt = 5
    cost: PositiveFloat = 1.0
    positive_weight: PositiveFloat = 2.0

    def score(self, trial: Trial) -> TaskScores:
        more: dict[str, float] = {}
        for k in self.shots:
            means = [self._mean_precision(trial, k, draw) for draw in range(self.draws)]
            more[images_a_class(k)] = float(np.mean(means))
            if self.draws > 1:
                more[f"{images_a_class(k)}, spread"] = float(np.std(means, ddof=1))
        most = images_a_class(max(self.shots))
        return TaskScores(f"mAP from {most}", more[most], more, {})

    def _mean_precision(self, trial: Trial, k: int, draw: int) -> float:
        """Return the mean average precision of the SVMs that learn from one draw."""
        x, has = F.normalize(trial.features, dim=1), (trial.labels == 1).astype(np.int64)
        found = np.empty((len(trial.test), len(trial.names)))
        for label in range(len(trial.names)):
            rows = trial.train[drawn(has[trial.train, label], k, len(trial.names), (trial.seed, draw, label))]
            signs = torch.from_numpy(2.0 * has[rows, label, None] - 1)
            weights = SvmProblem(x[rows], signs, self.positive_weight).minimum(self.cost)
            found[:, label] = svm_scores(weights, x[trial.test])[:, 0].numpy()
        return mean_of(each_average_precision(found, trial.labels[trial.test]))


def drawn(has: NDArray[np.int64], k: int, classes: int, purpose: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the rising positions of k of the images that have a class (1), and of (classes - 1) k of those that have it not (0);
    of all where there are fewer. A draw of more images has those of a draw of fewer."""
    wanted = np.where(has == 1, k, (classes - 1) * k)
    return np.flatnonzero(place_in_class(has, ("low-shot sets", *purpose)) < wanted)


TASKS = {"few_shot_svm": FewShotSvm()}
