"""Object detection: torchvision's Faster R-CNN on the encoder, all layers trained (COCO)."""

from dataclasses import dataclass, replace

from pydantic import PositiveInt

from ...errors import TooFewError
from ...runs.evals import TaskScores
from ..detection import THRESHOLDS, Detector, Shape, box_precision
from .contract import DenseTask, Trial


@dataclass(frozen=True, kw_only=True)
class Detection(DenseTask):
    """The average precision of boxes, the mean over the classes and over overlaps of 0.5 to 0.95, as COCO counts it.

    Crowds are left out. The short side of an image becomes `side` pixels (0: twice the size of the encoder's views). The network
    takes the encoder's last map alone; papers take Mask R-CNN with a pyramid of maps, and 90,000 steps.
    """

    about = "torchvision's Faster R-CNN on the encoder, all layers trained: the average precision"
    truth = "boxes"
    epochs: PositiveInt = 24
    batch_size: PositiveInt = 8
    regions: PositiveInt = 512

    def score(self, trial: Trial) -> TaskScores:
        recipe = replace(self.training(trial), warmup=0.1, longest=10.0)  # the first boxes may be far off
        classes = len(trial.names)
        sizes = list(zip(trial.images.widths.tolist(), trial.images.heights.tolist()))
        shape = Shape(classes=classes, side=recipe.side, regions=self.regions, seed=trial.seed)
        with trial.machine.use():
            detector = Detector.of(trial.model, trial.pixels, trial.boxes, trial.machine, shape)
            detector.fit(trial.train, recipe, sizes)
            told = [detector.detect(position, sizes[position]) for position in trial.test.tolist()]
        true = [trial.boxes[position] for position in trial.test.tolist()]
        found = [box_precision(told, true, classes, threshold) for threshold in THRESHOLDS]
        tested = [label for label in range(classes) if found[0][label] is not None]
        if not tested:
            raise TooFewError("no test image has a box, so there is no average precision; name other parts by split=")
        means = [sum(of_class[label] or 0.0 for label in tested) / len(tested) for of_class in found]
        per_class = {
            name: sum(of_class[label] or 0.0 for of_class in found) / len(found) if label in tested else None
            for label, name in enumerate(trial.names)
        }
        return TaskScores("AP", sum(means) / len(means), {"AP50": means[0], "AP75": means[5]}, {}, per_class)


TASKS = {"detection": Detection()}
