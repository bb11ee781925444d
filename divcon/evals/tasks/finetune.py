"""All layers trained on 1 % and on 10 % of the labels (SimCLR, BYOL: https://arxiv.org/abs/2006.07733, appendix C.1)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ...errors import FaultError
from ...log import info
from ...runs.evals import TaskScores
from ..choice import FAILED, Merit, best, merit
from ..fine_tuning import FineTuned, FineTuning
from ..low_shot import share_of_each
from ..split import stratified
from .contract import Task, Trial


@dataclass(frozen=True, kw_only=True)
class FineTune(Task):
    """The accuracy after all layers were trained on a share of the labels of each class, at least one image of each.

    The rate is the best one on a fifth of these images (by accuracy, and if that is equal by cross-entropy), and the encoder is
    then trained on all of them. If no class has two of them, the rate is the middle one. The batch is at most an eighth of the
    images; a rate does not change with it. The classifier is on the encoder's pool.
    """

    trains = True
    about = "all layers trained on a share of the labels"
    share: Annotated[float, Field(gt=0, le=1)] = 0.01
    epochs: PositiveInt = 50
    batch_size: Annotated[int, Field(ge=2)] = 1024
    rates: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.005, 0.01, 0.02, 0.05, 0.1)

    def score(self, trial: Trial) -> TaskScores:
        shown = trial.train[share_of_each(trial.labels[trial.train], self.share, trial.seed)]
        with trial.machine.use():
            rate = self._best_rate(trial, shown)
            predicted = self._logits(trial, shown, trial.test, rate).argmax(1)
        return trial.accuracy_scores(predicted, {"rate": rate, "labels": len(shown)})

    def _best_rate(self, trial: Trial, shown: NDArray[np.int64]) -> float:
        _, held_out, _ = stratified(trial.labels[shown], 0.8, trial.seed)
        if len(held_out) == 0 or len(self.rates) == 1:
            return sorted(self.rates)[len(self.rates) // 2]
        rest = np.delete(shown, held_out)
        return self.rates[best([self._merit(trial, rest, shown[held_out], rate) for rate in self.rates])]

    def _merit(self, trial: Trial, shown: NDArray[np.int64], judged: NDArray[np.int64], rate: float) -> Merit:
        """Return how well the images `judged` are told; FAILED for a rate at which the training fails."""
        try:
            return merit(self._logits(trial, shown, judged, rate), torch.from_numpy(trial.labels[judged]))
        except FaultError as error:
            info(f"a learning rate of {rate:g} is too large: {error}")
            return FAILED

    def _logits(self, trial: Trial, shown: NDArray[np.int64], judged: NDArray[np.int64], rate: float) -> Tensor:
        tuned = FineTuned(trial.model, trial.pixels, trial.labels, trial.machine)
        tuned.fit(shown, FineTuning(rate=rate, epochs=self.epochs, batch_size=self.batch_size, seed=trial.seed))
        return tuned.logits(judged)


TASKS = {"finetune_1": FineTune(), "finetune_10": FineTune(share=0.1, epochs=30)}
