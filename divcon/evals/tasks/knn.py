"""Weighted nearest neighbors: 20 and 200."""

from dataclasses import dataclass

from ...runs.evals import KnnScores
from .contract import Task, Trial


@dataclass(frozen=True, kw_only=True)
class Knn(Task):
    """The accuracies of the votes of 20 and of 200 nearest neighbors."""

    about = "the votes of the 20 and of the 200 nearest training images"
    whitens = True

    def score(self, trial: Trial) -> KnnScores:
        return trial.probe.knn(trial.machine.precision, trial.whitening)


TASKS = {"knn": Knn()}
