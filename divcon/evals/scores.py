"""The scores of a model on test images: accuracy, balanced accuracy, and accuracy by class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..machine import Precision
from ..nets.whitening import Whitening
from ..runs.evals import KnnScores, LinearScores
from .knn import predict_knn
from .linear import linear

KS = (20, 200)  # neighbors
THIRDS = ("many", "medium", "few")
UNEQUAL = 2.0  # times as many images in the largest third of the classes as in the smallest: else thirds say nothing


@dataclass(frozen=True)
class Accuracy:
    """Shares (0..1) of correct predictions.

    `top1` is that of all test images; `per_class` has one for each class, None if it has no test image; `balanced` is
    the mean over the classes with test images.
    """

    top1: float
    balanced: float
    per_class: list[float | None]

    @classmethod
    def of(cls, predicted: Int64[Tensor, " m"], labels: Int64[Tensor, " m"], classes: int) -> "Accuracy":
        """Return the accuracy of predicted labels, for labels in 0 .. classes - 1."""
        hits, sizes = (
            torch.bincount(counted.cpu(), minlength=classes).tolist()
            for counted in (labels[predicted == labels], labels)
        )
        per_class = [hit / size if size else None for hit, size in zip(hits, sizes, strict=True)]
        tested = [share for share in per_class if share is not None]
        return cls(sum(hits) / sum(sizes), sum(tested) / len(tested), per_class)

    def by_name(self, names: Sequence[str]) -> dict[str, float | None]:
        """Return the shares of the classes by their names."""
        return dict(zip(names, self.per_class))


def class_sizes(labels: Int64[np.ndarray, " n"], classes: int) -> NDArray[np.int64]:
    """Return the number of images of each class."""
    return np.bincount(labels, minlength=classes)


def thirds(per_class: Sequence[float | None], sizes: NDArray[np.int64]) -> dict[str, float]:
    """Return the mean accuracy of the third of the classes with the most training images ("many"), with "medium", and with
    "few".

    `per_class` has None for a class without a test image, which is in no third; of equal classes, the first counts as the
    larger one. Returns nothing for fewer than three classes, and unless the largest third has at least UNEQUAL times the
    images of the smallest one.
    """
    tested = [label for label, share in enumerate(per_class) if share is not None]
    order = sorted(tested, key=lambda label: -sizes[label])
    parts = np.array_split(np.array(order, np.int64), 3)
    if len(tested) < 3 or sizes[parts[0]].mean() < UNEQUAL * sizes[parts[2]].mean():
        return {}
    shares = np.array([share or 0.0 for share in per_class])
    return {name: float(shares[part].mean()) for name, part in zip(THIRDS, parts, strict=True)}


@dataclass(frozen=True)
class Probe:
    """Frozen features [n, d] and labels [n] to train on and to test on, with the names of the classes."""

    train_x: Float[Tensor, "n d"]
    train_y: Int64[Tensor, " n"]
    test_x: Float[Tensor, "m d"]
    test_y: Int64[Tensor, " m"]
    names: Sequence[str]

    @classmethod
    def of(
        cls,
        x: Float[Tensor, "n d"],
        y: NDArray[np.int64],
        train: NDArray[np.int64],
        test: NDArray[np.int64],
        names: Sequence[str],
    ) -> "Probe":
        """Return the probe for features and labels that are split by positions."""
        return cls(x[train], torch.from_numpy(y[train]), x[test], torch.from_numpy(y[test]), names)

    def knn(self, precision: Precision, whitening: Whitening | None = None) -> KnnScores:
        """Return the scores of 20 nearest neighbors, and the accuracies of 20 (`k20`) and of 200 (`k200`); of whitened features,
        with those of raw ones beside, if there is a whitening."""
        raw = self._knn(precision)
        if whitening is None:
            return raw
        white = replace(self, train_x=whitening(self.train_x), test_x=whitening(self.test_x))
        return replace(white._knn(precision), raw=raw)

    def _knn(self, precision: Precision) -> KnnScores:
        predicted = predict_knn(self.train_x, self.train_y, self.test_x, ks=KS, precision=precision)
        k20, k200 = (Accuracy.of(predicted[k], self.test_y, len(self.names)) for k in KS)
        by_name, by_size = k20.by_name(self.names), self._thirds(k20)
        return KnnScores(k20.top1, k200.top1, k20.top1, k20.balanced, by_name, raw=None, **by_size)

    def linear(self, seed: int, precision: Precision) -> LinearScores:
        """Return the scores of a linear classifier, and its penalty. Raises DataError if there are too few images."""
        score = linear(*self.parts, seed=seed, precision=precision)
        accuracy = Accuracy.of(score.predictions, self.test_y, len(self.names))
        by_name, by_size = accuracy.by_name(self.names), self._thirds(accuracy)
        return LinearScores(accuracy.top1, accuracy.balanced, by_name, score.penalty, reason=None, **by_size)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The features and the labels to train on, and those to test on."""
        return self.train_x, self.train_y, self.test_x, self.test_y

    def _thirds(self, accuracy: Accuracy) -> dict[str, float]:
        return thirds(accuracy.per_class, class_sizes(self.train_y.cpu().numpy(), len(self.names)))
