"""The scores of a model on test images: accuracy, balanced accuracy, and accuracy by class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..machine import Precision
from ..nets.whitening import Whitening
from ..runs.evals import KnnScores, LinearScores
from .knn import predict_knn
from .linear import linear

KS = (20, 200)  # neighbors


@dataclass(frozen=True)
class Scores:
    """The scores of each task; None for a task that was not asked for."""

    knn: KnnScores | None = None
    linear: LinearScores | None = None


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
        return KnnScores(k20.top1, k200.top1, k20.top1, k20.balanced, k20.by_name(self.names))

    def linear(self, seed: int, precision: Precision) -> LinearScores:
        """Return the scores of a linear classifier, and its penalty. Raises DataError if there are too few images."""
        score = linear(self.train_x, self.train_y, self.test_x, self.test_y, seed=seed, precision=precision)
        accuracy = Accuracy.of(score.predictions, self.test_y, len(self.names))
        return LinearScores(accuracy.top1, accuracy.balanced, accuracy.by_name(self.names), score.penalty)

    def scores(
        self, tasks: Sequence[str], seed: int, precision: Precision, whitening: Whitening | None = None
    ) -> Scores:
        """Return the scores of each task, "knn" or "linear". The whitening is for neighbors alone: a linear classifier learns the
        scale of each direction itself.

        If a linear classifier has too few images, its scores are None with a reason, unless it is the only task.
        """
        knn = self.knn(precision, whitening) if "knn" in tasks else None
        return Scores(knn, self._linear_or_reason(seed, precision, knn is not None) if "linear" in tasks else None)

    def _linear_or_reason(self, seed: int, precision: Precision, has_others: bool) -> LinearScores:
        try:
            return self.linear(seed, precision)
        except DataError as error:
            if not has_others:
                raise
            return LinearScores(top1=None, balanced=None, per_class=None, penalty=None, reason=str(error))
