"""Linear classifiers on frozen features, at the minimum of their loss (L-BFGS)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat

from ...runs.evals import LinearScores, TaskScores
from ..linear import linear
from .contract import Task, Trial


@dataclass(frozen=True, kw_only=True)
class Linear(Task):
    """The linear classifier with the best of 15 penalties."""

    about = "a linear classifier with the best of 15 penalties, by L-BFGS"
    version = 2  # of penalties with equal accuracy, 1 took the strongest

    def score(self, trial: Trial) -> LinearScores:
        return trial.probe.linear(trial.seed, trial.machine.precision)

    def without(self, reason: str) -> LinearScores:
        return LinearScores(top1=None, balanced=None, per_class=None, penalty=None, reason=reason)


@dataclass(frozen=True, kw_only=True)
class LinearSweep(Task):
    """The linear classifier with the best of many penalties: 45, as Kornblith, Shlens and Le (2019) have them.

    Their penalties are for features without any scaling; these features have a root mean square of 1.
    """

    about = "a linear classifier with the best of 45 penalties from 1e-6 to 1e5, by L-BFGS"
    penalties: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = tuple(
        float(penalty) for penalty in np.logspace(-6, 5, 45).round(12)
    )

    def score(self, trial: Trial) -> TaskScores:
        probe, precision = trial.probe, trial.machine.precision
        found = linear(*probe.parts, seed=trial.seed, penalties=self.penalties, precision=precision)
        return trial.accuracy_scores(found.predictions, {"penalty": found.penalty})


TASKS = {"linear": Linear(), "linear_45": LinearSweep()}
