"""Depth from one image: torchvision's FCN on the encoder, all layers trained (NYUv2, in DnC's appendix F)."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from ...data.labeled.depths import read_depth
from ...errors import TooFewError
from ...runs.evals import TaskScores
from ..depth import depth_measures, reverse_huber
from .contract import DenseTask, Trial


@dataclass(frozen=True, kw_only=True)
class DepthTask(DenseTask):
    """The share of the pixels whose depth is told within a factor of 1.25.

    The network tells the difference to the mean depth of the training images, in meters. Images are shown as squares of `side`
    pixels (0: twice the size of the encoder's views); depths are compared at their own size. The paper takes crops of 304 x 228
    pixels, four up-projections and 7,500 steps.
    """

    about = "torchvision's FCN on the encoder, all layers trained, for the depth of each pixel"
    truth = "depths"
    batch_size: Annotated[int, Field(ge=2)] = 16
    rate: PositiveFloat = 0.01

    def score(self, trial: Trial) -> TaskScores:
        recipe, mean = replace(self.training(trial), weight_decay=5e-4), mean_depth(trial)
        true = [read_depth(trial.maps[position]) for position in trial.test.tolist()]
        with trial.machine.use():
            network = trial.dense_network(read_depth, 1)

            def loss(outputs: Float[Tensor, "b 1 h w"], depths: Float[Tensor, "b h w"]) -> Tensor:
                return reverse_huber(outputs[:, 0] + mean, depths)

            network.fit(trial.train, recipe, loss)
            told = [network.outputs(position, recipe.side)[0].numpy() + mean for position in trial.test.tolist()]
        found = depth_measures(told, true)
        return TaskScores("within a factor of 1.25", found["within a factor of 1.25"], {}, {}, table=[{**found}])


def mean_depth(trial: Trial) -> float:
    """Return the mean of the known depths of the training images. Raises DataError if none is known, there or in the test."""
    sums, known = np.zeros(2), np.zeros(2)
    for part, positions in enumerate((trial.train, trial.test)):
        for position in positions.tolist():
            depth = read_depth(trial.maps[position])
            sums[part] += depth.sum(dtype=np.float64)
            known[part] += (depth > 0).sum()
    if not known.all():
        raise TooFewError(
            "no pixel of the training images, or of the test images, has a known depth; give other images"
        )
    return float(sums[0] / known[0])


TASKS = {"depth": DepthTask()}
