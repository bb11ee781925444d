"""VOC07 classification by logistic regressions on frozen features (Kornblith et al. 2019, https://arxiv.org/abs/1805.08974)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from torch import Tensor

from ...runs.evals import TaskScores
from ..average_precision import POINTS, average_precision, mean_scores
from ..linear import PATH_TOLERANCE, PENALTIES, fit_logistic
from ..logistic import Problem, Weights
from .contract import Task, Trial
from .svm import folds


@dataclass(frozen=True, kw_only=True)
class OneVsRest(Task):
    """The mean average precision of a logistic regression for each class.

    The penalty of a class is that of the best 11-point average precision on a fifth of the training images. Features have a root
    mean square of 1. Images that are hard to say count as images without the class in the training, and are left out of the
    test.
    """

    about = "a logistic regression for each class, the penalty chosen; the mean average precision"
    truth = "sets"
    penalties: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = tuple(PENALTIES)

    def score(self, trial: Trial) -> TaskScores:
        scale = float(trial.features[trial.train].double().square().mean().sqrt()) or 1.0
        x, truth = trial.features / scale, torch.from_numpy((trial.labels == 1).astype(np.int64))
        held_out = folds(len(trial.train), 5, trial.seed) == 0
        found, chosen = np.empty((len(trial.test), len(trial.names))), dict[str, float]()
        for label, name in enumerate(trial.names):
            y = truth[:, label]
            penalty = self._best_penalty(x[trial.train], y[trial.train], held_out)
            weights = fit_binary(x[trial.train], y[trial.train], penalty)
            found[:, label] = margins(weights, x[trial.test])
            chosen[f"penalty of {name}"] = penalty
        return mean_scores(found, trial.labels[trial.test], trial.names, chosen, points=POINTS)

    def _best_penalty(self, x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], held_out: NDArray[np.bool_]) -> float:
        """Return the penalty with the best average precision on the images held out; of equals, the strongest."""
        path = sorted(self.penalties, reverse=True)
        rest, judged = torch.from_numpy(~held_out), torch.from_numpy(held_out)
        truth = y[judged].numpy() == 1
        if not truth.any():
            return path[len(path) // 2]
        found = Problem(x[rest], y[rest], 2).path(doubled(path), PATH_TOLERANCE)
        precision = [average_precision(margins(weights, x[judged]), truth, points=POINTS) for weights in found]
        return path[int(np.argmax(precision))]


def fit_binary(x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], penalty: float) -> Weights:
    """Return the weights and biases of two classes whose difference minimizes the mean logistic loss + penalty / 2 |w|^2."""
    return fit_logistic(x, y, 2, doubled([penalty])[0])


def doubled(penalties: Sequence[float]) -> list[float]:
    """Return the penalties for two rows of weights: at the minimum they are w / 2 and -w / 2, so their squares are half of |w|^2."""
    return [2 * penalty for penalty in penalties]


def margins(weights: Weights, x: Float[Tensor, "m d"]) -> NDArray[np.float64]:
    """Return the logit of the class minus that of its absence."""
    weight, bias = (part.double() for part in weights)
    found: NDArray[np.float64] = (x.double() @ (weight[1] - weight[0]) + bias[1] - bias[0]).numpy()
    return found


TASKS = {"one_vs_rest": OneVsRest()}
