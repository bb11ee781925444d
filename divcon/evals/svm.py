"""Linear support vector machines, one for each class, with the squared hinge loss: those of LIBLINEAR and scikit-learn's LinearSVC.

min |w|^2 / 2 + C sum_i c_i max(0, 1 - y_i w'x_i)^2,   x_i with a last 1 for the bias, which is penalized too
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from .lbfgs import InverseHessian, dot

STEPS = 1000  # at most
TOLERANCE = 1e-6  # the largest entry of the gradient over C and the number of rows, at the end of the search
ARMIJO = 1e-4

Weights = Float64[Tensor, "classes d1"]


class SvmProblem:
    """Features x [n, d] and `signs` [n, classes], 1 or -1, to be fitted; rows with 1 weigh `positive_weight` times as much."""

    def __init__(self, x: Float[Tensor, "n d"], signs: Float[Tensor, "n classes"], positive_weight: float = 1.0):
        self.x = torch.cat([x, x.new_ones(len(x), 1)], 1).double()
        self.signs = signs.double()
        self.row_weights = torch.where(self.signs > 0, positive_weight, 1.0).double()

    def path(self, costs: Sequence[float]) -> list[Weights]:
        """Return the minimum for each C in turn; each search starts at the minimum for the one before."""
        found: list[Weights] = []
        for cost in costs:
            found.append(self.minimum(cost, found[-1] if found else None))
        return found

    def minimum(self, cost: float, start: Weights | None = None) -> Weights:
        """Return the weights of each class, the bias last. The problems are independent and share their steps."""
        weights = self.x.new_zeros(self.signs.shape[1], self.x.shape[1]) if start is None else start
        hessian, (loss, gradient) = InverseHessian(self._initial_hessian(cost)), self.loss(weights, cost)
        for _ in range(STEPS):
            if float(gradient.abs().max()) <= TOLERANCE:
                break
            step = self._step(weights, hessian.newton_step(gradient), loss, gradient, cost)
            if step is None:
                break
            new_loss, new_gradient = self.loss(weights + step, cost)
            hessian.update(step, new_gradient - gradient)
            weights, loss, gradient = weights + step, new_loss, new_gradient
        return weights

    def loss(self, weights: Weights, cost: float) -> tuple[float, Weights]:
        """Return the sum of the losses of all classes, over C and the number of rows, and its gradient."""
        scale = 1 / (cost * len(self.x))
        missing = (1 - self.signs * (self.x @ weights.T)).clamp(min=0)
        slopes = -2 * self.row_weights * self.signs * missing / len(self.x)
        loss = float((self.row_weights * missing.square()).sum()) / len(self.x) + scale / 2 * dot(weights, weights)
        return loss, slopes.T @ self.x + scale * weights

    def _step(self, weights: Weights, step: Weights, loss: float, gradient: Weights, cost: float) -> Weights | None:
        """Return the step, or the first of its halves that lowers the loss; None if none does."""
        slope = dot(gradient, step)
        for _ in range(30):
            if self.loss(weights + step, cost)[0] <= loss + ARMIJO * slope:
                return step
            step, slope = step / 2, slope / 2
        return None

    def _initial_hessian(self, cost: float) -> "InverseOfAll":
        return InverseOfAll(self.x, cost)


class InverseOfAll:
    """The inverse Hessian where each row is inside the margin, which is the same for all classes."""

    def __init__(self, x: Float64[Tensor, "n d1"], cost: float):
        hessian = 2 * x.T @ x / len(x)
        hessian.diagonal().add_(1 / (cost * len(x)) + 1e-9 * float(hessian.diagonal().mean()))
        self.root = torch.linalg.cholesky(hessian)

    def __call__(self, gradient: Weights) -> Weights:
        return torch.cholesky_solve(gradient.T, self.root).T


def svm_scores(weights: Weights, x: Float[Tensor, "m d"]) -> Float64[Tensor, "m classes"]:
    """Return the distances to the margins' middles, times the norm of the weights."""
    return x.double() @ weights[:, :-1].T + weights[:, -1]
