"""Score models on one labeled collection, and keep the scores of a run's encoders in the run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .. import machine
from ..data.labeled.boxes import BoxSets
from ..data.labeled.scored import Scored
from ..errors import UsageError
from ..evals.split import train_test_split
from ..evals.tasks.contract import Found, Task, Trial
from ..evals.tasks.registry import score_all
from ..files.integrity import digest
from ..files.text import printable
from ..nets.net import Layer
from ..nets.trained import Trained
from ..runs.evals import (
    EvalKey,
    EvaluateAnswer,
    KnnScores,
    LinearScores,
    TaskScores,
    find_scores,
    keep_scores,
    stage_of,
)
from .models import encoder_of, whitening_of


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The labeled images, and the options of `evaluate`: what is equal for all models that are compared."""

    data: Scored
    tasks: Mapping[str, Task]
    seed: int = 0
    layer: Layer = "pool"
    whiten: bool = True
    cache: Path
    cache_gb: float = 8.0
    workers: int | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for a layer that a task would not look at."""
        trained = ", ".join(name for name, task in self.tasks.items() if task.trains)
        if self.layer != "pool" and trained:
            raise UsageError(
                f"layer={self.layer}: not with tasks={trained}, for which the encoder is trained up to its pool; leave layer= out"
            )

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
        settings = {name: task.settings() for name, task in self.tasks.items()}
        precision, whiten = self._machine.precision, self.whiten and None
        return EvalKey(labeled, [*self.tasks], self.seed, self.layer, precision, whiten, settings)

    @cached_property
    def _machine(self) -> machine.Machine:
        return machine.choose(self.cache, workers=self.workers)

    def kept_or_new(self, model: Trained, name: str) -> EvaluateAnswer:
        """Return the scores that the model's run keeps, or else new ones."""
        place = stage_of(model.folder) if model.folder else None
        return (find_scores(*place, self.key) if place else None) or self.scores(model, name)

    def scores(self, model: Trained, name: str) -> EvaluateAnswer:
        """Return the scores of a model, and keep them in its run if it is a stage of one."""
        found = score_all(self.tasks, self._trial(model))
        answer = _with_scores(self._counts(name), found)
        if model.folder and (place := stage_of(model.folder)):
            keep_scores(*place, printable(self.data.images.source.root), self.key, answer)
        return answer

    def _trial(self, model: Trained) -> Trial:
        train, test, _ = self.split
        return Trial(
            model=model,
            images=self.data.images,
            labels=self.data.labels,
            names=self.data.classes,
            train=train,
            test=test,
            encode=lambda layer: self._features(model, layer),
            whitening=whitening_of(model, self._whitens, self.layer),
            machine=self._machine,
            cache=self.cache,
            cache_gb=self.cache_gb,
            layer=self.layer,
            seed=self.seed,
            maps=self.data.files if self.data.truth in ("masks", "depths") else (),
            boxes=self.data.boxes if isinstance(self.data, BoxSets) else (),
        )

    @property
    def _whitens(self) -> bool:
        return self.whiten and any(task.whitens for task in self.tasks.values())

    def _features(self, model: Trained, layer: Layer) -> Tensor:
        images, cache, workers = self.data.images, self.cache, self.workers
        encoder = encoder_of(model, images, layer=layer, cache=cache, cache_gb=self.cache_gb, workers=workers)
        return encoder.all()

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


def _with_scores(answer: EvaluateAnswer, found: Mapping[str, Found]) -> EvaluateAnswer:
    """Return the answer with the scores of its tasks; kNN and linear have fields of their own."""
    knn, linear = found.get("knn"), found.get("linear")
    others = {name: each for name, each in found.items() if isinstance(each, TaskScores)}
    assert knn is None or isinstance(knn, KnnScores)
    assert linear is None or isinstance(linear, LinearScores)
    return replace(answer, knn=knn, linear=linear, tasks=others or None)
