"""Multinomial logistic regression: one problem, and its minimum under each of several penalties.

The logits are linear in the weights, so those of a new point are those of the last one plus those of the step. Steps
shrink as the search goes on, and with them what low precision loses: they may be taken in bfloat16 until that can't tell
the slope from its own rounding. From there on, and for the last word, it is float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..clustering.blocks import each_block, one_thread
from ..machine import Precision
from .lbfgs import Curvature, dot

Weights = tuple[Float[Tensor, "classes d"], Float[Tensor, " classes"]]

PARTS = 16  # of the rows, each with a gradient of its own: they are added up in order, whoever made them
BLOCK = 4096  # rows of a part at a time
TOLERANCE = 1e-6  # of the gradient's largest entry
ROUGH = 1e-5  # of the same in low precision
STEPS = 300
SAMPLE = 8192  # rows that tell how features go together
GRAMS = 4  # parts of these, each multiplied on one thread


@dataclass(frozen=True, eq=False)
class State:
    """A point of the search, theta = [weight | bias]: the logits, the loss and its gradient."""

    theta: Float64[Tensor, "classes d1"]
    logits: Float[Tensor, "n classes"]
    loss: float
    gradient: Float64[Tensor, "classes d1"]

    @property
    def slope(self) -> float:
        return float(self.gradient.abs().max())


class Problem:
    """Features and labels to fit weights to. Memory holds a centerd copy of the features, another in bfloat16 if that is
    the precision, and the logits twice."""

    def __init__(
        self, x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], classes: int, precision: Precision = "fp32"
    ) -> None:
        self.y, self.classes, self.center = y, classes, x.mean(0)
        self.x = x - self.center
        self.low = self.x.bfloat16() if precision == "bf16" else self.x

    def path(self, penalties: Sequence[float], tolerance: float) -> list[Weights]:
        """The minimum for each penalty in turn; the search for it begins where the last two would lead."""
        found: list[Weights] = []
        for penalty in penalties:
            found.append(self.minimum(penalty, _ahead(found), tolerance))
        return found

    def minimum(self, penalty: float, start: Weights | None = None, tolerance: float = TOLERANCE) -> Weights:
        """The weights [classes, d] and biases [classes] that minimize mean cross-entropy + penalty / 2 |weight|^2.

        The bias is free, so that rows may be centerd first: the weight is the same, and is found in far fewer steps.
        """
        state = self.at(self._theta(start), penalty)
        curvature = Curvature(self._guess(penalty, state.logits))
        if self.low is not self.x:
            state = self._descend(state, curvature, penalty, self.low, max(ROUGH, tolerance))
            state = self.at(state.theta, penalty)
        theta = self._descend(state, curvature, penalty, self.x, tolerance).theta.to(self.x.dtype)
        weight = theta[:, :-1].contiguous()
        return weight, theta[:, -1] - weight @ self.center

    def at(self, theta: Float64[Tensor, "classes d1"], penalty: float) -> State:
        zero = self.x.new_zeros(1, 1).expand(len(self.x), self.classes)
        return self._moved(zero, theta, theta, penalty, self.x)

    def _theta(self, start: Weights | None) -> Float64[Tensor, "classes d1"]:
        weight, bias = start or (self.x.new_zeros(self.classes, self.x.shape[1]), self.x.new_zeros(self.classes))
        return torch.cat([weight, (bias + weight @ self.center)[:, None]], 1).double()

    def _guess(self, penalty: float, logits: Tensor) -> Callable[[Tensor], Tensor]:
        """The inverse of the curvature if all classes were alike: that of the mean of x x' p (1 - p), over classes and
        some rows, and the penalty."""
        stride = max(1, len(self.x) // SAMPLE)
        some, p = self.x[::stride], logits[::stride].softmax(1)
        doubt = (1 - p.square().sum(1)).clamp(min=1e-3) / self.classes
        parts = each_block(len(some), -(-len(some) // GRAMS), lambda a, b: (some[a:b] * doubt[a:b, None]).T @ some[a:b])
        with one_thread():
            bend = torch.stack(parts).sum(0, dtype=torch.float64) / len(some)
            bend.diagonal().add_(penalty + 1e-6 * bend.trace())  # float32 rounds: it might be indefinite
            root, mean = torch.linalg.cholesky(bend), doubt.double().mean()

        def apply(theta: Tensor) -> Tensor:
            with one_thread():
                weight = torch.cholesky_solve(theta[:, :-1].T, root).T
            return torch.cat([weight, theta[:, -1:] / mean], 1)

        return apply

    def _descend(self, state: State, curvature: Curvature, penalty: float, x: Tensor, tolerance: float) -> State:
        """Steps with the products of x, until the slope is within the tolerance or no step leads lower."""
        for _ in range(STEPS):
            if state.slope <= tolerance:
                break
            after = self._step(state, curvature.newton(state.gradient), penalty, x)
            if after is None:
                break
            curvature.learn(after.theta - state.theta, after.gradient - state.gradient)
            state = after
        return state

    def _step(self, state: State, step: Tensor, penalty: float, x: Tensor) -> State | None:
        """The state after a step, or a part of it, that leads lower, as far as rounding lets one see; None if none does."""
        falling = dot(state.gradient, step)
        for _ in range(10):
            after = self._moved(state.logits, step, state.theta + step, penalty, x)
            left = dot(after.gradient, step)
            if after.loss <= state.loss + 1e-4 * falling or (
                abs(left) <= 0.9 * abs(falling) and after.loss <= state.loss * (1 + 1e-6)
            ):
                return after
            part = min(0.7, max(0.1, falling / (falling - left)))
            step, falling = part * step, part * falling
        return None

    def _moved(self, logits: Tensor, step: Tensor, theta: Tensor, penalty: float, x: Tensor) -> State:
        """The state at theta, a step from where the logits were: p = softmax(logits + x step') and
        e = d loss / d logits = (p - onehot(y)) / n, so dW = e' x + penalty W and db = sum e."""
        n, size = len(x), -(-len(x) // PARTS)
        moved, weight = torch.empty_like(logits, memory_format=torch.contiguous_format), theta[:, :-1]
        parts = each_block(n, size, lambda a, b: self._part(logits[a:b], step, x[a:b], self.y[a:b], moved[a:b]))
        gradient = torch.stack([slopes for _, slopes in parts]).sum(0, dtype=torch.float64) / n
        gradient[:, :-1] += penalty * weight
        return State(theta, moved, sum(loss for loss, _ in parts) / n + penalty / 2 * dot(weight, weight), gradient)

    def _part(
        self, logits: Tensor, step: Tensor, x: Tensor, y: Tensor, moved: Tensor
    ) -> tuple[float, Float[Tensor, "classes d1"]]:
        """The sums of the losses and of the gradients of some rows, whose new logits go to `moved`."""
        weight, bias = step[:, :-1].to(x.dtype).T, step[:, -1].to(logits.dtype)
        loss, slopes = 0.0, logits.new_zeros(step.shape)
        for rows, own, before, after in zip(*(torch.split(part, BLOCK) for part in (x, y, logits, moved))):
            torch.add(before, torch.mm(rows, weight), out=after).add_(bias)
            log_p = F.log_softmax(after, 1)
            loss -= float(log_p.gather(1, own[:, None]).sum(dtype=torch.float64))
            error = log_p.exp_()
            error[torch.arange(len(own), device=x.device), own] -= 1
            slopes[:, :-1] += torch.mm(error.to(x.dtype).T, rows)
            slopes[:, -1] += error.sum(0)
        return loss, slopes


def _ahead(found: list[Weights]) -> Weights | None:
    """As far beyond the last as the last is beyond the one before."""
    if len(found) < 2:
        return found[-1] if found else None
    (weight, bias), (old_weight, old_bias) = found[-1], found[-2]
    return 2 * weight - old_weight, 2 * bias - old_bias
