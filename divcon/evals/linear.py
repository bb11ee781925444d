"""The linear probe: multinomial logistic regression on frozen features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import TooFewError
from ..machine import Precision
from .choice import Merit, merit
from .logistic import Problem, Weights
from .split import stratified

PENALTIES = [10.0 ** (power / 2) for power in range(-12, 3)]  # 1e-6 .. 1e1, two a decade
BF16_MINIMUM = 2**23  # numbers; with fewer, float32 is faster (2,000 x 128: 0.3 s, and 5.5 s in bfloat16)
PATH_TOLERANCE = 3e-6  # the largest entry of the gradient: enough to tell which penalty is best


@dataclass(frozen=True)
class LinearScore:
    """The accuracy on the test images, the penalty that was chosen, the accuracy of each penalty on validation images,
    and the predicted class of each test image."""

    top1: float
    penalty: float
    validation: dict[float, float]
    predictions: Int64[Tensor, " m"]


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
    """Return the score of a linear probe on features [n, d] and [m, d]. The penalty is chosen on a fifth of the
    training images, by their accuracy, or if that is equal by their cross-entropy. The test images are used once.

    All features are divided by the root mean square of the training features, so that a penalty has the same meaning
    for every encoder. `precision` is that of most steps of the search when there are many images, and not of its end.
    Raises DataError if no class has two training images.
    """
    scale = float(train_x.double().square().mean().sqrt()) or 1.0
    classes = int(torch.maximum(train_y.max(), test_y.max())) + 1
    x = train_x.float() / scale
    precision = precision if x.numel() >= BF16_MINIMUM else "fp32"
    path = sorted(PENALTIES if penalties is None else penalties, reverse=True)
    merits, starts = _validate(x, train_y, classes, path, seed, precision)
    best = max(path, key=merits.__getitem__)
    validation = {penalty: accuracy for penalty, (accuracy, _) in merits.items()}
    fitted = fit_logistic(x, train_y, classes, best, starts[best], precision)
    predictions = predict(fitted, test_x.float() / scale)
    return LinearScore(float((predictions == test_y).double().mean()), best, validation, predictions)


def fit_logistic(
    x: Float[Tensor, "n d"],
    y: Int64[Tensor, " n"],
    classes: int,
    penalty: float,
    start: Weights | None = None,
    precision: Precision = "fp32",
) -> Weights:
    """Return the weight [classes, d] and the bias [classes] that minimize mean cross-entropy + penalty / 2
    |weight|^2."""
    return Problem(x, y, classes, precision).minimum(penalty, start)


def accuracy(weights: Weights, x: Float[Tensor, "n d"], y: Int64[Tensor, " n"]) -> float:
    """Return the share of rows whose predicted class is their label."""
    return float((predict(weights, x) == y).double().mean())


def predict(weights: Weights, x: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
    """Return the class of each row with the largest logit."""
    return logits(weights, x).argmax(1)


def logits(weights: Weights, x: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
    """Return the logits of each row."""
    weight, bias = weights
    return torch.addmm(bias, x, weight.T)


def _validate(
    x: Tensor, y: Tensor, classes: int, path: Sequence[float], seed: int, precision: Precision
) -> tuple[dict[float, Merit], dict[float, Weights]]:
    """Return, for each penalty of the path, how well the validation images are told, and the weights."""
    train, validation, _ = (torch.as_tensor(part) for part in stratified(y.cpu().numpy(), 0.8, seed))
    if len(validation) == 0:
        raise TooFewError(
            "no class has two training images, so no validation images can choose the penalty; give more images"
        )
    found = dict(zip(path, Problem(x[train], y[train], classes, precision).path(path, PATH_TOLERANCE)))
    return {penalty: merit(logits(weights, x[validation]), y[validation]) for penalty, weights in found.items()}, found
