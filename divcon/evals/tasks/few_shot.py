"""A linear classifier from few images of each class, on frozen features (MSN, https://arxiv.org/abs/2204.07141)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt

from ...runs.evals import TaskScores
from ..linear import fit_logistic, predict
from ..low_shot import few_of_each
from ..scores import Accuracy
from .contract import Task, Trial


@dataclass(frozen=True, kw_only=True)
class FewShot(Task):
    """The accuracy of a logistic regression from `shots` images of each class: the mean over several draws, and their standard
    deviation.

    Features have the norm 1. The penalty is given, because there are no images to choose it on: MSN takes 0.00025 to 0.0025.
    A class with fewer images gives all of them.
    """

    about = "a linear classifier from 1, 2, 5 and 10 images of each class, the mean of 5 draws"
    shots: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 5, 10)
    draws: PositiveInt = 5
    penalty: PositiveFloat = 1e-3

    def score(self, trial: Trial) -> TaskScores:
        more: dict[str, float] = {}
        for k in self.shots:
            top1, balanced = np.transpose([self._accuracy(trial, k, draw) for draw in range(self.draws)])
            more |= {images_a_class(k): float(top1.mean()), f"{images_a_class(k)}, balanced": float(balanced.mean())}
            if self.draws > 1:
                more[f"{images_a_class(k)}, spread"] = float(top1.std(ddof=1))
        most = max(self.shots)
        return TaskScores(f"top-1 from {images_a_class(most)}", more[images_a_class(most)], more, {})

    def _accuracy(self, trial: Trial, k: int, draw: int) -> tuple[float, float]:
        """Return the accuracy, and the mean of those of the classes."""
        learned = trial.train[few_of_each(trial.labels[trial.train], k, trial.seed, draw)]
        x, y = F.normalize(trial.features, dim=1), torch.from_numpy(trial.labels)
        weights = fit_logistic(x[learned], y[learned], len(trial.names), self.penalty)
        accuracy = Accuracy.of(predict(weights, x[trial.test]), y[trial.test], len(trial.names))
        return accuracy.top1, accuracy.balanced


def images_a_class(k: int) -> str:
    return f"{k} {'image' if k == 1 else 'images'} a class"


TASKS = {"few_shot": FewShot()}
