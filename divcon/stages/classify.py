"""Train an encoder to tell labels apart."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.images import Images
from ..methods.classify import Classify
from ..methods.contract import Share
from ..nets.trained import Trained
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext
from .learning import MakeMethod, NetworkTraining, plan_network, train_network


@dataclass(frozen=True, kw_only=True)
class Classification(NetworkTraining):
    """The recipe of a training on labels, with label smoothing. Each image is seen in the first of the two views."""

    smoothing: Share = 0.0

    def method_for(self, labels: NDArray[np.int64]) -> MakeMethod:
        """The function that builds the method around an encoder, for images with these labels."""
        classes = torch.tensor(labels)
        return lambda encoder: Classify(encoder, len(labels), classes, smoothing=self.smoothing)


class Labels(Protocol):
    """A number for each image: its class as people named it, or its cluster."""

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def fingerprint(self) -> str: ...


def plan_classify(images: Images, truth: Labels, recipe: Classification) -> Plan[Trained]:
    """The plan of `classify`."""
    return plan_network(images, recipe, recipe.method_for(truth.labels))


@planned_by(plan_classify)
def classify(context: StageContext, images: Images, truth: Labels, recipe: Classification) -> Result[Trained]:
    """Train an encoder, from scratch, to tell the images' labels apart."""
    return train_network(context, images, recipe, recipe.method_for(truth.labels))
