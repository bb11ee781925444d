"""Shares of test images that were told right: of all, of each class, and the mean over classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError
from ..machine import Precision
from .knn import predict_knn
from .linear import linear

KS = (20, 200)


@dataclass(frozen=True)
class Shares:
    """Of all test images; of each class, None where it has none; and the mean over the classes that have some."""

    top1: float
    balanced: float
    per_class: list[float | None]

    @classmethod
    def of(cls, told: Int64[Tensor, " m"], truth: Int64[Tensor, " m"], classes: int) -> "Shares":
        right, sizes = (
            torch.bincount(which, minlength=classes).tolist() for which in (truth[told == truth].cpu(), truth.cpu())
        )
        per_class = [hits / size if size else None for hits, size in zip(right, sizes, strict=True)]
        tested = [share for share in per_class if share is not None]
        return cls(sum(right) / sum(sizes), sum(tested) / len(tested), per_class)

    def account(self, names: Sequence[str]) -> dict[str, Any]:
        return {"top1": self.top1, "balanced": self.balanced, "per_class": dict(zip(names, self.per_class))}


@dataclass(frozen=True)
class Probe:
    """Frozen features and labels, to learn from and to test on; `names` are those of the classes."""

    train_x: Float[Tensor, "n d"]
    train_y: Int64[Tensor, " n"]
    test_x: Float[Tensor, "m d"]
    test_y: Int64[Tensor, " m"]
    names: Sequence[str]

    @classmethod
    def of(cls, x: Tensor, y: NDArray[Any], train: NDArray[Any], test: NDArray[Any], names: Sequence[str]) -> "Probe":
        return cls(x[train], torch.from_numpy(y[train]), x[test], torch.from_numpy(y[test]), names)

    def knn(self, precision: Precision) -> dict[str, Any]:
        """By 20 and 200 neighbors; the shares are those by 20."""
        told = predict_knn(self.train_x, self.train_y, self.test_x, ks=KS, precision=precision)
        shares = {k: Shares.of(told[k], self.test_y, len(self.names)) for k in KS}
        return {"k20": shares[20].top1, "k200": shares[200].top1, **shares[20].account(self.names)}

    def linear(self, seed: int, precision: Precision) -> dict[str, Any]:
        """By a linear classifier."""
        score = linear(self.train_x, self.train_y, self.test_x, self.test_y, seed=seed, precision=precision)
        shares = Shares.of(score.predictions, self.test_y, len(self.names))
        return {**shares.account(self.names), "penalty": score.penalty}

    def scores(self, tasks: Sequence[str], seed: int, precision: Precision) -> dict[str, Any]:
        """For each task its scores. Where the images are too few for a linear classifier, kNN has its own all the same."""
        found = {"knn": self.knn(precision)} if "knn" in tasks else {}
        if "linear" in tasks:
            try:
                found["linear"] = self.linear(seed, precision)
            except DataError as error:
                if not found:
                    raise
                nothing = dict.fromkeys(("top1", "balanced", "per_class", "penalty"))
                found["linear"] = {**nothing, "reason": str(error)}
        return found
