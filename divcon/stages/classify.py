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
from ..runs.run import StageContext
from .learning import NetworkTraining, train_network


@dataclass(frozen=True, kw_only=True)
class Classification(NetworkTraining):
    """Learning to tell labels apart, each image seen in the first of the two views."""

    smoothing: Share = 0.0


class Labels(Protocol):
    """A number for each image: what people called it, or its cluster."""

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def fingerprint(self) -> str: ...


def classify(context: StageContext, images: Images, truth: Labels, recipe: Classification) -> Trained:
    """Train an encoder, from scratch, to tell the images' labels apart."""
    labels = torch.tensor(truth.labels)
    return train_network(
        context,
        images,
        recipe,
        lambda encoder: Classify(encoder, len(images), labels, smoothing=recipe.smoothing),
        None,
    )
