"""A linear classifier as the papers train it: by SGD for 80 epochs, on random crops (BYOL, appendix C.1; DnC, appendix E)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ...data.views.presets import crop
from ...errors import TooFewError
from ...log import progress
from ...runs.evals import TaskScores
from ...train.encode import encode
from ..choice import Merit, best, merit
from ..sgd import SgdClassifiers
from ..split import stratified
from .contract import Task, Trial

FeaturesOf = Callable[[int], Float[Tensor, "n d"]]  # from an epoch to features of the training images


@dataclass(frozen=True, kw_only=True)
class LinearSgd(Task):
    """SGD with Nesterov momentum and a cosine. The best of the `rates` on a fifth of the training images is taken.

    A rate is for a batch of 256 images. With `crops`, each epoch encodes new random crops, flipped or not, of all training
    images; without, it shows the center view again, which is far quicker. Features are divided by their root mean square over
    the training images, so that a rate has the same meaning for each encoder. The papers do not do this, and have the last
    rates only.
    """

    about = "a linear classifier by SGD for 80 epochs of random crops, the learning rate chosen"
    epochs: PositiveInt = 80
    batch_size: PositiveInt = 1024
    rates: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (1.0, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05)
    crops: bool = True

    def score(self, trial: Trial) -> TaskScores:
        train, held_out, _ = stratified(trial.labels[trial.train], 0.8, trial.seed)
        if len(held_out) == 0:
            raise TooFewError(
                "no class has two training images, so no held-out images can choose the learning rate; give more images"
            )
        scale = float(trial.features[trial.train].double().square().mean().sqrt()) or 1.0
        with trial.machine.use():
            chosen, final = self._learn(trial, train, scale)
            rate = best(self._merits(chosen, trial, held_out, scale))
            predicted = final.logits(trial.features[trial.test] / scale, rate).argmax(1)
        return trial.accuracy_scores(predicted, {"rate": self.rates[rate]})

    def _learn(self, trial: Trial, train: NDArray[np.int64], scale: float) -> tuple[SgdClassifiers, SgdClassifiers]:
        """Return the classifiers that have learned from the rows `train` of the training images, and from all rows."""
        y, rows = torch.from_numpy(trial.labels[trial.train]), torch.from_numpy(train)
        of_part, of_all = (self._classifiers(trial, n) for n in (len(train), len(y)))
        features = self._features(trial)
        for epoch in range(self.epochs):
            x = features(epoch) / scale
            of_part.learn(x[rows], y[rows], epoch)
            of_all.learn(x, y, epoch)
            progress("linear_sgd", (epoch + 1) * len(y), self.epochs * len(y))
        return of_part, of_all

    def _classifiers(self, trial: Trial, n: int) -> SgdClassifiers:
        return SgdClassifiers(
            trial.features.shape[1],
            len(trial.names),
            self.rates,
            n=n,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=trial.seed,
        )

    def _features(self, trial: Trial) -> FeaturesOf:
        """Return a function from an epoch to the features of the training images."""
        if not self.crops:
            center = trial.features[trial.train]
            return lambda epoch: center
        net, spec, machine = trial.model.net, trial.model.input_spec, trial.machine
        view, _ = crop(spec.size)

        def of_crops(epoch: int) -> Float[Tensor, "n d"]:
            purpose = (trial.seed, "linear_sgd", epoch)
            positions, layer = trial.train, trial.layer
            return encode(
                net, spec, trial.pixels, machine, layer=layer, positions=positions, view=view, purpose=purpose
            )

        return of_crops

    def _merits(
        self, classifiers: SgdClassifiers, trial: Trial, held_out: NDArray[np.int64], scale: float
    ) -> list[Merit]:
        """Return how well each rate tells the center views of the held-out training images."""
        positions = trial.train[held_out]
        x, y = trial.features[positions] / scale, torch.from_numpy(trial.labels[positions])
        return [merit(classifiers.logits(x, rate), y) for rate in range(len(self.rates))]


TASKS = {"linear_sgd": LinearSgd()}
