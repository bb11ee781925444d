"""Parts of labeled images, like clusters, against their classes (DnC, table 6)."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ..clustering.labelings import mutual_information, normalized_mutual_information
from ..rng import uniforms


@dataclass(frozen=True)
class Parts:
    """The parts and the classes of training images and of test images; both are numbers from 0."""

    train: Int64[Tensor, " n"]
    train_y: Int64[Tensor, " n"]
    test: Int64[Tensor, " m"]
    test_y: Int64[Tensor, " m"]

    @property
    def counts(self) -> Int64[Tensor, "parts classes"]:
        """The number of training images of each part that have each class."""
        shape = [int(torch.cat(pair).max()) + 1 for pair in ((self.train, self.test), (self.train_y, self.test_y))]
        return torch.bincount(self.train * shape[1] + self.train_y, minlength=shape[0] * shape[1]).view(shape)

    @property
    def predicted(self) -> Int64[Tensor, " m"]:
        """The class that most training images in a test image's part have: of equals, the first one."""
        return torch.from_numpy(self.counts.numpy().argmax(1))[self.test]

    @property
    def top1(self) -> float:
        """The share of the test images that have the class predicted for them."""
        return float((self.predicted == self.test_y).double().mean())

    @property
    def purity(self) -> float:
        """The share of the training images that have the class of most images in their part."""
        return float(self.counts.max(1).values.sum() / len(self.train))

    @property
    def together(self) -> float:
        """The share of the training images of a class that are in one part, if it is the largest such part: the mean over the
        classes."""
        counts = self.counts[:, self.counts.sum(0) > 0].double()
        return float((counts.max(0).values / counts.sum(0)).mean())

    @property
    def bits(self) -> float:
        """The mutual information of parts and classes of the training images."""
        return mutual_information(self.train, self.train_y) / math.log(2)

    @property
    def normalized(self) -> float:
        """The mutual information over the mean of the two entropies, in 0..1."""
        return normalized_mutual_information(self.train, self.train_y)

    def at_random(self, seed: int, draw: int) -> "Parts":
        """Return parts of the same sizes with images at random: what a number is for parts that know nothing."""
        shuffled = (self._shuffled(part, seed, draw, i) for i, part in enumerate((self.train, self.test)))
        return replace(self, train=next(shuffled), test=next(shuffled))

    def _shuffled(self, part: Int64[Tensor, " n"], seed: int, draw: int, i: int) -> Int64[Tensor, " n"]:
        numbers = uniforms(("random parts", seed, draw, i), np.arange(len(part)), 1)[:, 0]
        return part[torch.from_numpy(np.argsort(numbers, kind="stable"))]
