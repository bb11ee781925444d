"""Score models on one labeled collection, and keep the scores of a run's encoders in the run."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import machine
from ..data.labeled.labeled import Labeled
from ..errors import UsageError
from ..evals.scores import Probe
from ..evals.split import train_test_split
from ..files.integrity import digest
from ..files.text import printable
from ..nets.net import Layer
from ..nets.trained import Trained
from ..runs.evals import EvalKey, EvaluateAnswer, find_scores, keep_scores, stage_of
from .models import encoder_of, whitening_of

TASKS = ("knn", "linear")


def task_names(tasks: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the tasks; UsageError for an unknown one."""
    names = tuple(tasks.split(",")) if isinstance(tasks, str) else tuple(tasks)
    if set(names) - set(TASKS):
        raise UsageError(f"tasks={','.join(names)}: there is {', '.join(TASKS)}")
    return names


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The labeled images, and the options of `evaluate`: what is equal for all models that are compared."""

    data: Labeled
    tasks: tuple[str, ...] = TASKS
    seed: int = 0
    layer: Layer = "pool"
    whiten: bool = True
    cache: Path
    cache_gb: float = 8.0
    workers: int | None = None

    @cached_property
    def split(self) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
        """The positions of the training and the test images, and the classes with one image, which are dropped."""
        return train_test_split(self.data, self.seed)

    @cached_property
    def key(self) -> EvalKey:
        """The fingerprint of the labeled images and their split, and the settings: all but the encoder."""
        train, test, _ = self.split
        parts = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in (train, test)]
        labeled = digest(json.dumps([self.data.fingerprint, self.data.classes, *parts]))
        return EvalKey(labeled, [*self.tasks], self.seed, self.layer, self._machine.precision, self.whiten and None)

    @cached_property
    def _machine(self) -> machine.Machine:
        return machine.choose(self.cache, workers=self.workers)

    def kept_or_new(self, model: Trained, name: str) -> EvaluateAnswer:
        """Return the scores that the model's run keeps, or else new ones."""
        place = stage_of(model.folder) if model.folder else None
        return (find_scores(*place, self.key) if place else None) or self.scores(model, name)

    def scores(self, model: Trained, name: str) -> EvaluateAnswer:
        """Return the scores of a model, and keep them in its run if it is a stage of one."""
        train, test, _ = self.split
        encoder = encoder_of(
            model, self.data.images, layer=self.layer, cache=self.cache, cache_gb=self.cache_gb, workers=self.workers
        )
        probe = Probe.of(encoder.all(), self.data.labels, train, test, self.data.classes)
        whitening = whitening_of(model, self.whiten and "knn" in self.tasks, self.layer)
        found = probe.scores(self.tasks, self.seed, self._machine.precision, whitening)
        answer = replace(self._counts(name), knn=found.knn, linear=found.linear)
        if model.folder and (place := stage_of(model.folder)):
            keep_scores(*place, printable(self.data.images.source.root), self.key, answer)
        return answer

    def _counts(self, name: str) -> EvaluateAnswer:
        """The answer without scores."""
        train, test, dropped = self.split
        return EvaluateAnswer(
            model=name,
            images=len(train) + len(test),
            train=len(train),
            test=len(test),
            classes=len(self.data.classes) - len(dropped),
            split_seed=self.seed,
            dropped_classes=[self.data.classes[i] for i in dropped],
            parts=self.data.layout.as_dict(),
            left_out=dict(self.data.left_out),
        )
