"""The contract of a task: a score of an encoder on labeled images. A file of this folder defines one or several."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ...clustering.neighbors import refuse_infinite
from ...config import to_json_value
from ...data.images import Images
from ...data.labeled.boxes import Boxes
from ...data.labeled.scored import Truth
from ...data.pixels.pixel_cache import open_pixels
from ...data.pixels.pixels import Pixels
from ...machine import Machine
from ...nets.net import Layer
from ...nets.trained import Trained
from ...nets.whitening import Whitening
from ...runs.evals import KnnScores, LinearScores, TaskScores
from ..dense import DenseNetwork, DenseTraining
from ..scores import Accuracy, Probe, class_sizes, thirds

LARGEST = 4096  # pixels of a side, beyond which no memory is enough
Found = KnnScores | LinearScores | TaskScores
Row = dict[str, str | int | float]  # of the table of a task


@dataclass(frozen=True)
class Compared:
    """A kind of features: their name, the layer that gives them, and the whitening of its features."""

    name: str
    layer: Layer
    whitening: Whitening | None = None

    def of(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the features for those of the layer."""
        return x if self.whitening is None else self.whitening(x)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A model and labeled images, as a task gets them.

    `labels` is [n], a class for each image, or [n, classes] with 1 where an image has the class, 0 where it has not, and -1
    where this is hard to say. `maps` are files with a value for each pixel, and `boxes` are the boxes of each image, where images
    have such. `train` and `test` are positions. `encode` computes the features that a layer gives of all images; `whitening` is the
    encoder's, if features of the pool are to be compared whitened.
    """

    model: Trained
    images: Images
    labels: NDArray[np.int64]
    names: Sequence[str]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    encode: Callable[[Layer], Float[Tensor, "n d"]]
    machine: Machine
    cache: Path
    cache_gb: float = 8.0
    whitening: Whitening | None = None
    layer: Layer = "pool"
    seed: int = 0
    maps: Sequence[Path] = ()
    boxes: Sequence[Boxes] = ()

    @cached_property
    def features(self) -> Float[Tensor, "n d"]:
        """The features of the center view of each image."""
        return self._encoded(self.layer)

    def features_of(self, layer: Layer) -> Float[Tensor, "n d"]:
        """Return the features that a layer gives of the center view of each image."""
        return self.features if layer == self.layer else self._encoded(layer)

    def _encoded(self, layer: Layer) -> Float[Tensor, "n d"]:
        """Return the features. Raises DataError where they are not finite: each task would say something else of them."""
        features = self.encode(layer)
        refuse_infinite(features)
        return features

    def compared(self, whitened: bool = True) -> list["Compared"]:
        """Return the kinds of features to compare images by: first those that are asked for, then those of the other layers."""
        layers = [self.layer, *(layer for layer in self.model.net.layers if layer != self.layer)]
        white = [Compared(f"whitened {self.layer}", self.layer, self.whitening)] if whitened and self.whitening else []
        return [*white, *(Compared(layer, layer) for layer in layers)]

    def compared_by_layer(self) -> dict[Layer, list["Compared"]]:
        """Return the kinds of features by their layer."""
        kinds = self.compared()
        return {each.layer: [other for other in kinds if other.layer == each.layer] for each in kinds}

    @cached_property
    def pixels(self) -> Pixels:
        """The pixels of the images, for tasks that encode other views, or train."""
        side = self.model.input_spec.short_side
        return open_pixels(self.images, side, cache=self.cache, cache_gb=self.cache_gb, workers=self.machine.workers)

    @cached_property
    def probe(self) -> Probe:
        """The features and the classes, split."""
        return Probe.of(self.features, self.labels, self.train, self.test, self.names)

    def dense_network(
        self, read: Callable[[Path], NDArray[np.uint8] | NDArray[np.float32]], outputs: int
    ) -> DenseNetwork:
        """Return a network with some outputs for each pixel; `read` reads the file of an image's values."""
        model, pixels, maps = self.model, self.pixels, self.maps
        return DenseNetwork(model, pixels, lambda i: read(maps[i]), outputs, self.machine, self.seed)

    def accuracy_scores(self, predicted: Tensor, chosen: dict[str, float]) -> TaskScores:
        """Return the scores of predicted classes of the test images; `chosen` was chosen on held-out training images."""
        truth = torch.from_numpy(self.labels[self.test])
        accuracy = Accuracy.of(predicted.cpu(), truth, len(self.names))
        sizes = class_sizes(self.labels[self.train], len(self.names))
        more = {"balanced": accuracy.balanced, **thirds(accuracy.per_class, sizes)}
        return TaskScores("top-1", accuracy.top1, more, chosen, accuracy.by_name(self.names))


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A score. Its fields are its settings, with their defaults; `version` grows when the same settings give other scores."""

    about: ClassVar[str]
    truth: ClassVar[Truth] = "classes"
    whitens: ClassVar[bool] = False  # True for a task that compares whitened features
    trains: ClassVar[bool] = False  # True for a task that trains the encoder, whatever `layer` is
    version: ClassVar[int] = 1
    measure: ClassVar[str] = ""  # the score, where the name of the task says something else

    @abstractmethod
    def score(self, trial: Trial) -> Found:
        """Return the scores of the trial's model. Raises DataError if there are too few images."""

    def fits(self, truth: Truth) -> bool:
        """Return True if the task can score images of this kind: one that needs no labels can score all."""
        return self.truth in (truth, "none")

    def without(self, reason: str) -> Found:
        """Return the scores where there are too few images."""
        return TaskScores("", None, {}, {}, reason=reason)

    def settings(self) -> dict[str, object]:
        """Return all that the scores depend on besides the trial, as JSON values."""
        return {"version": self.version, **to_json_value(self)}


@dataclass(frozen=True, kw_only=True)
class DenseTask(Task):
    """A score of a network that is trained to tell more of an image than its class. `side` is that of the images which it is
    shown, in pixels; 0: twice the size of the encoder's views."""

    trains = True
    epochs: PositiveInt = 30
    batch_size: PositiveInt = 16
    rate: PositiveFloat = 0.02
    side: Annotated[int, Field(ge=0, le=LARGEST)] = 0

    def training(self, trial: Trial) -> DenseTraining:
        side = self.side or trial.model.input_spec.short_side
        return DenseTraining(rate=self.rate, epochs=self.epochs, batch_size=self.batch_size, seed=trial.seed, side=side)
