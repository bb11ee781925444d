"""VOC07 classification by linear SVMs on frozen features (Goyal et al. 2019, https://arxiv.org/abs/1905.01235, appendix B)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from torch import Tensor

from ...rng import uniforms
from ...runs.evals import TaskScores
from ..average_precision import each_average_precision, mean_scores
from ..svm import SvmProblem, svm_scores
from .contract import Task, Trial

COSTS = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)


@dataclass(frozen=True, kw_only=True)
class Svm(Task):
    """The mean average precision of one SVM for each class, on features of norm 1.

    C is chosen for each class by its average precision in 3-fold cross-validation. Images that are hard to say count as
    images without the class in the training, and are left out of the test. A positive image weighs twice as much.
    """

    about = "a linear SVM for each class, C chosen in 3 folds; the mean average precision (VOC07)"
    truth = "sets"
    costs: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = COSTS
    folds: Annotated[int, Field(ge=2)] = 3
    positive_weight: PositiveFloat = 2.0

    def score(self, trial: Trial) -> TaskScores:
        x, labels = F.normalize(trial.features, dim=1), torch.from_numpy(trial.labels)
        signs = torch.where(labels == 1, 1.0, -1.0)
        best = self._best_costs(x[trial.train], signs[trial.train], trial.seed)
        paths = SvmProblem(x[trial.train], signs[trial.train], self.positive_weight).path(sorted(self.costs))
        weights = torch.stack([paths[cost][label] for label, cost in enumerate(best)])
        found = svm_scores(weights, x[trial.test]).numpy()
        chosen = {f"C of {name}": sorted(self.costs)[cost] for name, cost in zip(trial.names, best)}
        return mean_scores(found, trial.labels[trial.test], trial.names, chosen)

    def _best_costs(self, x: Float[Tensor, "n d"], signs: Float[Tensor, "n classes"], seed: int) -> list[int]:
        """Return, for each class, the place of the best C among the rising ones; of equals, the smallest."""
        fold = folds(len(x), self.folds, seed)
        precision = []
        for i in range(self.folds):
            train, rest = torch.from_numpy(fold != i), torch.from_numpy(fold == i)
            paths = SvmProblem(x[train], signs[train], self.positive_weight).path(sorted(self.costs))
            truth = signs[rest].long().clamp(min=0).numpy()
            precision.append([each_average_precision(svm_scores(w, x[rest]).numpy(), truth) for w in paths])
        mean = np.nan_to_num(np.array(precision, np.float64)).sum(
            0
        )  # [costs, classes]; None for a class without images
        return [int(best) for best in mean.argmax(0)]


def folds(n: int, k: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each of n images: parts of about one size."""
    order = np.argsort(uniforms(("folds", seed), np.arange(n), 1)[:, 0], kind="stable")
    fold = np.empty(n, np.int64)
    fold[order] = np.arange(n) % k
    return fold


TASKS = {"svm": Svm()}
