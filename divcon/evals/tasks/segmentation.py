"""Semantic segmentation: torchvision's FCN on the encoder, all layers trained (VOC2012, in DnC's appendix F)."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from ...data.labeled.masks import VOID, read_mask
from ...errors import TooFewError
from ...runs.evals import TaskScores
from ..overlap import confusion_matrix, overlaps, pixel_loss
from .contract import DenseTask, Trial


@dataclass(frozen=True, kw_only=True)
class Segmentation(DenseTask):
    """The mean, over the classes, of the overlap (intersection over union) of the pixels told and of those that are true.

    Images are shown as squares of `side` pixels (0: twice the size of the encoder's views); the overlap is counted at the size of
    the masks. The paper takes crops of 513 pixels at several scales, dilated convolutions and 30,000 steps.
    """

    about = "torchvision's FCN on the encoder, all layers trained: the mean overlap of classes (mIoU)"
    truth = "masks"
    batch_size: Annotated[int, Field(ge=2)] = 16

    def score(self, trial: Trial) -> TaskScores:
        recipe, classes = self.training(trial), len(trial.names)
        refuse_void_masks(trial)
        counts = np.zeros((classes, classes), np.int64)
        with trial.machine.use():
            network = trial.dense_network(read_mask, classes)
            network.fit(trial.train, recipe, pixel_loss)
            for position in trial.test.tolist():
                told = network.outputs(position, recipe.side).argmax(0).numpy()
                counts += confusion_matrix(read_mask(trial.maps[position]), told, classes)
        found = overlaps(counts)
        tested = [overlap for overlap in found if overlap is not None]
        pixels, mean = float(np.trace(counts) / counts.sum()), sum(tested) / len(tested)
        return TaskScores("mIoU", mean, {"pixels": pixels}, {}, dict(zip(trial.names, found, strict=True)))


def refuse_void_masks(trial: Trial) -> None:
    """Raise DataError if no pixel of the training images, or of the test images, counts."""
    for part, positions in {"training": trial.train, "test": trial.test}.items():
        if all((read_mask(trial.maps[position]) == VOID).all() for position in positions.tolist()):
            raise TooFewError(f"no pixel of the {part} images has a class that counts; give other images")


TASKS = {"segmentation": Segmentation()}
