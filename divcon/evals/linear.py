"""The linear probe: multinomial logistic regression on frozen features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import DataError
from ..machine import Precision
from .logistic import Problem, Weights
from .split import stratified

PENALTIES = [10.0 ** (power / 2) for power in range(-12, 3)]  # 1e-6 .. 1e1, two a decade
WORTH = (
    2**23
)  # numbers: products of fewer are quicker in float32 (2,000 x 128: 0.3 s for 5.5 s) than turned into bfloat16
CHOOSING = 3e-6  # of the gradient's largest entry: near enough to tell which penalty is best


@dataclass(frozen=True)
class LinearScore:
    """The test images' classes as told, the share of them that is right, the penalty this was reached with, and how each
    penalty did on held-out images."""

    top1: float
    penalty: float
    validation: dict[float, float]
    told: Int64[Tensor, " m"]


def linear(
    train_x: Float[Tensor, "n d"],
    train_y: Int64[Tensor, " n"],
    test_x: Float[Tensor, "m d"],
    test_y: Int64[Tensor, " m"],
    *,
    seed: int = 0,
    penalties: Sequence[float] | None = None,
    precision: Precision = "fp32",
) -> LinearScore:
    """The probe's accuracy, its penalty chosen on a fifth of the training images; the test images are seen once.
    `precision` is that of most of the search's steps where there are many images, and not of where it ends.

    All features are divided by one number, the root mean square of the training features, so that a penalty means the
    same to every encoder, whatever the size of its numbers.
    """
    scale = float(train_x.double().square().mean().sqrt()) or 1.0
    classes = int(torch.maximum(train_y.max(), test_y.max())) + 1
    x = train_x.float() / scale
    precision = precision if x.numel() >= WORTH else "fp32"
    path = sorted(PENALTIES if penalties is None else penalties, reverse=True)
    validation, starts = _validate(x, train_y, classes, path, seed, precision)
    best = max(path, key=validation.__getitem__)  # the first of equals: the strongest
    fitted = fit_logistic(x, train_y, classes, best, starts[best], precision)
    told = classified(fitted, test_x.float() / scale)
    return LinearScore(float((told == test_y).double().mean()), best, validation, told)


def fit_logistic(
    x: Float[Tensor, "n d"],
    y: Int64[Tensor, " n"],
    classes: int,
    penalty: float,
    start: Weights | None = None,
    precision: Precision = "fp32",
) -> Weights:
    """The weight [classes, d] and bias [classes] that minimize mean cross-entropy + penalty / 2 |weight|^2."""
    return Problem(x, y, classes, precision).minimum(penalty, start)


def accuracy(weights: Weights, x: Float[Tensor, "n d"], y: Int64[Tensor, " n"]) -> float:
    return float((classified(weights, x) == y).double().mean())


def classified(weights: Weights, x: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
    """The class of each row."""
    weight, bias = weights
    return torch.addmm(bias, x, weight.T).argmax(1)


def _validate(
    x: Tensor, y: Tensor, classes: int, path: Sequence[float], seed: int, precision: Precision
) -> tuple[dict[float, float], dict[float, Weights]]:
    """Accuracy on held-out images and the weights for each penalty of the path."""
    kept, held, _ = (torch.as_tensor(part) for part in stratified(y.cpu().numpy(), 0.8, seed))
    if len(held) == 0:
        raise DataError("no class has two training images, so none can be held out to choose the penalty on; give more")
    found = dict(zip(path, Problem(x[kept], y[kept], classes, precision).path(path, CHOOSING)))
    return {penalty: accuracy(weights, x[held], y[held]) for penalty, weights in found.items()}, found
