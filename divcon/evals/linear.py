"""The linear probe: multinomial logistic regression on frozen features, by L-BFGS."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import DataError
from .split import stratified

Weights = tuple[Float[Tensor, "classes d"], Float[Tensor, " classes"]]

PENALTIES = [10.0 ** (power / 2) for power in range(-12, 3)]  # 1e-6 .. 1e1, two a decade


@dataclass(frozen=True)
class LinearScore:
    """Accuracy on the test images, the penalty it was reached with, and how each penalty did on held-out images."""

    top1: float
    penalty: float
    validation: dict[float, float]


def linear(
    train_x: Float[Tensor, "n d"],
    train_y: Int64[Tensor, " n"],
    test_x: Float[Tensor, "m d"],
    test_y: Int64[Tensor, " m"],
    *,
    seed: int = 0,
    penalties: Sequence[float] | None = None,
) -> LinearScore:
    """The probe's accuracy, its penalty chosen on a fifth of the training images; the test images are seen once.

    All features are divided by one number, the root mean square of the training features, so that a penalty means the
    same to every encoder, whatever the size of its numbers.
    """
    scale = float(train_x.double().square().mean().sqrt()) or 1.0
    classes = int(torch.maximum(train_y.max(), test_y.max())) + 1
    x = train_x.float() / scale
    path = sorted(PENALTIES if penalties is None else penalties, reverse=True)
    validation, starts = _validate(x, train_y, classes, path, seed)
    best = max(path, key=validation.__getitem__)  # the first of equals: the strongest
    fitted = fit_logistic(x, train_y, classes, best, starts[best])
    return LinearScore(accuracy(fitted, test_x.float() / scale, test_y), best, validation)


def fit_logistic(
    x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], classes: int, penalty: float, start: Weights | None = None
) -> Weights:
    """The weight [classes, d] and bias [classes] that minimise mean cross-entropy + penalty / 2 |weight|^2.

    The bias is free, so the rows may be centred first: the weight is the same, and is found in far fewer steps.
    """
    centre = x.mean(0)
    weight, bias = start or (x.new_zeros(classes, x.shape[1]), x.new_zeros(classes))
    theta = torch.cat([weight, (bias + weight @ centre)[:, None]], 1)
    _descend(theta, x - centre, y, penalty)
    weight = theta[:, :-1].contiguous()
    return weight, theta[:, -1] - weight @ centre


def accuracy(weights: Weights, x: Float[Tensor, "n d"], y: Int64[Tensor, " n"]) -> float:
    weight, bias = weights
    return float((torch.addmm(bias, x, weight.T).argmax(1) == y).double().mean())


def _validate(
    x: Tensor, y: Tensor, classes: int, path: Sequence[float], seed: int
) -> tuple[dict[float, float], dict[float, Weights]]:
    """Accuracy on held-out images and the weights for each penalty of the path, each begun where the last one ended."""
    kept, held, _ = (torch.as_tensor(part) for part in stratified(y.cpu().numpy(), 0.8, seed))
    if len(held) == 0:
        raise DataError("no class has two training images, so none can be held out to choose the penalty on; give more")
    scores: dict[float, float] = {}
    found: dict[float, Weights] = {}
    weights = None
    for penalty in path:
        found[penalty] = weights = fit_logistic(x[kept], y[kept], classes, penalty, weights)
        scores[penalty] = accuracy(weights, x[held], y[held])
    return scores, found


def _descend(theta: Tensor, x: Tensor, y: Tensor, penalty: float) -> None:
    """Move theta = [weight | bias] to the minimum."""
    search: torch.optim.Optimizer = torch.optim.LBFGS(
        [theta],
        max_iter=300,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-8,
        line_search_fn="strong_wolfe",
    )

    def evaluate() -> float:
        loss, theta.grad = _loss_and_gradient(theta, x, y, penalty)
        return float(loss)

    search.step(evaluate)


def _loss_and_gradient(
    theta: Float[Tensor, "classes d1"], x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], penalty: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "classes d1"]]:
    """p = softmax(x W' + b) and e = d loss / d logits = (p - onehot(y)) / n, so dW = e' x + penalty W, db = sum e."""
    weight, bias, n = theta[:, :-1], theta[:, -1], len(x)
    loss, gradient = penalty / 2 * weight.double().square().sum(), torch.zeros_like(theta)
    for rows, own in zip(torch.split(x, 16384), torch.split(y, 16384)):
        log_p = F.log_softmax(torch.addmm(bias, rows, weight.T), 1)
        loss += F.nll_loss(log_p, own, reduction="sum").double() / n
        error = log_p.exp_()
        error[torch.arange(len(own), device=x.device), own] -= 1
        gradient[:, :-1].addmm_(error.T, rows)
        gradient[:, -1] += error.sum(0)
    gradient /= n
    gradient[:, :-1] += penalty * weight
    return loss, gradient
