"""Multinomial logistic regression by L-BFGS: the minimum of one problem under each of several penalties.

Logits are linear in the weights, so the logits at a new point are those at the last point plus those of the step. Steps
get smaller during the search, and so do their rounding errors. So steps may be computed in bfloat16 until its rounding
hides the gradient. The last steps, and the final gradient, are in float32.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..clustering.blocks import each_block, one_thread
from ..machine import Precision
from .lbfgs import InverseHessian, dot

Weights = tuple[Float[Tensor, "classes d"], Float[Tensor, " classes"]]

PARTS = 16  # of the rows, each with its own gradient; gradients are added in order, whichever thread made them
BLOCK = 4096  # rows of a part that are worked on at once
TOLERANCE = 1e-6  # the largest entry of the gradient at the end of the search
BF16_TOLERANCE = 1e-5  # the same for the steps in bfloat16
STEPS = 300  # at most
SAMPLE = 8192  # rows that the initial Hessian is estimated from
SMALL = 2**24  # products of a number with a weight: one thread does them before others have begun
UNSHARED = 2**15  # numbers that torch sums on one thread, however many it may use
HESSIAN_PARTS = 4  # parts of these rows, each multiplied on one thread


@dataclass(frozen=True, eq=False)
class State:
    """A point of the search: theta = [weight | bias], its logits, its loss and the gradient of the loss."""

    theta: Float64[Tensor, "classes d1"]
    logits: Float[Tensor, "n classes"]
    loss: float
    gradient: Float64[Tensor, "classes d1"]

    @property
    def max_gradient(self) -> float:
        return float(self.gradient.abs().max())


class Problem:
    """Features x [n, d] and labels y [n] in 0..classes - 1, to be fitted.

    Memory holds a centered copy of the features, one more in bfloat16 if that is the precision, and the logits twice.
    """

    def __init__(
        self, x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], classes: int, precision: Precision = "fp32"
    ) -> None:
        self.y, self.classes, self.center = y, classes, x.mean(0)
        self.x = x - self.center
        self.x_low = self.x.bfloat16() if precision == "bf16" else self.x

    def path(self, penalties: Sequence[float], tolerance: float) -> list[Weights]:
        """Return the minimum for each penalty in turn. Each search starts at an extrapolation of the last two
        minima."""
        found: list[Weights] = []
        for penalty in penalties:
            found.append(self.minimum(penalty, _extrapolated(found), tolerance))
        return found

    def minimum(self, penalty: float, start: Weights | None = None, tolerance: float = TOLERANCE) -> Weights:
        """Return the weight [classes, d] and the bias [classes] that minimize mean cross-entropy + penalty / 2
        |weight|^2.

        The bias has no penalty, so centered rows have the same weight at the minimum, and the search needs far fewer
        steps.
        """
        state = self.state_at(self._theta(start), penalty)
        hessian = InverseHessian(self._initial_hessian(penalty, state.logits))
        if self.x_low is not self.x:
            state = self._descend(state, hessian, penalty, self.x_low, max(BF16_TOLERANCE, tolerance))
            state = self.state_at(state.theta, penalty)
        theta = self._descend(state, hessian, penalty, self.x, tolerance).theta.to(self.x.dtype)
        weight = theta[:, :-1].contiguous()
        return weight, theta[:, -1] - weight @ self.center

    def state_at(self, theta: Float64[Tensor, "classes d1"], penalty: float) -> State:
        """Return the loss and the gradient at theta [classes, d + 1], for centered rows."""
        zero = self.x.new_zeros(1, 1).expand(len(self.x), self.classes)
        return self._state_after(zero, theta, theta, penalty, self.x)

    def _theta(self, start: Weights | None) -> Float64[Tensor, "classes d1"]:
        weight, bias = start or (self.x.new_zeros(self.classes, self.x.shape[1]), self.x.new_zeros(self.classes))
        return torch.cat([weight, (bias + weight @ self.center)[:, None]], 1).double()

    def _initial_hessian(self, penalty: float, logits: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function that multiplies by the inverse of an approximate Hessian, which is the same for all
        classes: the mean of x x' p (1 - p) over classes and a sample of rows, plus the penalty."""
        stride = max(1, len(self.x) // SAMPLE)
        rows, p = self.x[::stride], logits[::stride].softmax(1)
        variance = (1 - p.square().sum(1)).clamp(min=1e-3) / self.classes
        parts = each_block(
            len(rows), -(-len(rows) // HESSIAN_PARTS), lambda a, b: (rows[a:b] * variance[a:b, None]).T @ rows[a:b]
        )
        with one_thread():
            hessian = torch.stack(parts).sum(0, dtype=torch.float64) / len(rows)
            hessian.diagonal().add_(penalty + 1e-6 * hessian.trace())  # rounding in float32 could make it indefinite
            root, mean = torch.linalg.cholesky(hessian), variance.double().mean()

        def apply(theta: Tensor) -> Tensor:
            with one_thread():
                weight = torch.cholesky_solve(theta[:, :-1].T, root).T
            return torch.cat([weight, theta[:, -1:] / mean], 1)

        return apply

    def _descend(self, state: State, hessian: InverseHessian, penalty: float, x: Tensor, tolerance: float) -> State:
        """Return the state after steps whose products use x, until the gradient is within the tolerance or no step
        lowers the loss."""
        with one_thread() if self._is_small(state.theta) else contextlib.nullcontext():
            for _ in range(STEPS):
                if state.max_gradient <= tolerance:
                    break
                after = self._step(state, hessian.newton_step(state.gradient), penalty, x)
                if after is None:
                    break
                hessian.update(after.theta - state.theta, after.gradient - state.gradient)
                state = after
        return state

    def _is_small(self, theta: Tensor) -> bool:
        """Return True if several threads would take longer to begin a step than one takes to do it, and one thread gives the
        same bits."""
        return self.x.numel() * self.classes < SMALL and theta.numel() < UNSHARED

    def _step(self, state: State, step: Tensor, penalty: float, x: Tensor) -> State | None:
        """Return the state after the step, or a part of it, that lowers the loss as far as rounding shows; None if none
        does."""
        slope = dot(state.gradient, step)
        for _ in range(10):
            after = self._state_after(state.logits, step, state.theta + step, penalty, x)
            new_slope = dot(after.gradient, step)
            if after.loss <= state.loss + 1e-4 * slope or (
                abs(new_slope) <= 0.9 * abs(slope) and after.loss <= state.loss * (1 + 1e-6)
            ):
                return after
            part = min(0.7, max(0.1, slope / (slope - new_slope)))
            step, slope = part * step, part * slope
        return None

    def _state_after(self, logits: Tensor, step: Tensor, theta: Tensor, penalty: float, x: Tensor) -> State:
        """Return the state at theta, given the logits before the step that led there.

        With p = softmax(logits + x step') and e = d loss / d logits = (p - onehot(y)) / n, the gradient is
        dW = e' x + penalty W and db = sum e.
        """
        n, size = len(x), -(-len(x) // PARTS)
        new, weight = torch.empty_like(logits, memory_format=torch.contiguous_format), theta[:, :-1]
        parts = each_block(n, size, lambda a, b: self._part(logits[a:b], step, x[a:b], self.y[a:b], new[a:b]))
        gradient = torch.stack([gradients for _, gradients in parts]).sum(0, dtype=torch.float64) / n
        gradient[:, :-1] += penalty * weight
        return State(theta, new, sum(loss for loss, _ in parts) / n + penalty / 2 * dot(weight, weight), gradient)

    def _part(
        self, logits: Tensor, step: Tensor, x: Tensor, y: Tensor, new: Tensor
    ) -> tuple[float, Float[Tensor, "classes d1"]]:
        """Return the sums of the losses and of the gradients of some rows, and write their logits after the step to
        `new`."""
        weight, bias = step[:, :-1].to(x.dtype).T, step[:, -1].to(logits.dtype)
        loss, gradient = 0.0, logits.new_zeros(step.shape)
        for rows, own, before, after in zip(*(torch.split(part, BLOCK) for part in (x, y, logits, new))):
            torch.add(before, torch.mm(rows, weight), out=after).add_(bias)
            log_p = F.log_softmax(after, 1)
            loss -= float(log_p.gather(1, own[:, None]).sum(dtype=torch.float64))
            error = log_p.exp_()
            error[torch.arange(len(own), device=x.device), own] -= 1
            gradient[:, :-1] += torch.mm(error.to(x.dtype).T, rows)
            gradient[:, -1] += error.sum(0)
        return loss, gradient


def _extrapolated(found: list[Weights]) -> Weights | None:
    """Return the last weights plus their difference from those before; None if there are none."""
    if len(found) < 2:
        return found[-1] if found else None
    (weight, bias), (old_weight, old_bias) = found[-1], found[-2]
    return 2 * weight - old_weight, 2 * bias - old_bias
