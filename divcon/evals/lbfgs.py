"""The step of L-BFGS for smooth convex functions, from an initial estimate of the inverse Hessian."""

from collections import deque
from collections.abc import Callable

from jaxtyping import Float64
from torch import Tensor

Point = Float64[Tensor, "..."]

HISTORY = 20


class InverseHessian:
    """An estimate of the inverse Hessian: `initial`, corrected by the last HISTORY steps."""

    def __init__(self, initial: Callable[[Point], Point]) -> None:
        self.initial, self.scale = initial, 1.0
        self.history: deque[tuple[Point, Point, float]] = deque(maxlen=HISTORY)

    def update(self, step: Point, change: Point) -> None:
        """Record the change of the gradient along a step; one with no positive curvature is ignored."""
        curvature = dot(step, change)
        if curvature > 0:
            self.history.append((step, change, curvature))
            self.scale = curvature / dot(change, self.initial(change))

    def newton_step(self, gradient: Point) -> Point:
        """Return -H gradient, by the two loops of Nocedal and Wright, algorithm 7.4."""
        q, alphas = -gradient, []
        for step, change, curvature in reversed(self.history):
            alphas.append(dot(step, q) / curvature)
            q = q - alphas[-1] * change
        r = self.scale * self.initial(q)
        for (step, change, curvature), alpha in zip(self.history, reversed(alphas)):
            r = r + (alpha - dot(change, r) / curvature) * step
        return r


def dot(a: Point, b: Point) -> float:
    return float((a * b).sum())
