"""L-BFGS for smooth convex functions, from a first guess at the inverse of the curvature."""

from collections import deque
from collections.abc import Callable

from jaxtyping import Float64
from torch import Tensor

Point = Float64[Tensor, "..."]

HISTORY = 20


class Curvature:
    """What the last steps told about the second derivative, on top of a first guess at its inverse."""

    def __init__(self, guess: Callable[[Point], Point]) -> None:
        self.guess, self.scale = guess, 1.0
        self.pairs: deque[tuple[Point, Point, float]] = deque(maxlen=HISTORY)

    def learn(self, step: Point, change: Point) -> None:
        """The gradient changed by so much along a step."""
        bend = dot(step, change)
        if bend > 0:
            self.pairs.append((step, change, bend))
            self.scale = bend / dot(change, self.guess(change))

    def newton(self, gradient: Point) -> Point:
        """The step to where the gradient would be 0, if all was as it is thought to be: the two loops of Nocedal and
        Wright, algorithm 7.4."""
        q, taken = -gradient, []
        for step, change, bend in reversed(self.pairs):
            taken.append(dot(step, q) / bend)
            q = q - taken[-1] * change
        r = self.scale * self.guess(q)
        for (step, change, bend), alpha in zip(self.pairs, reversed(taken)):
            r = r + (alpha - dot(change, r) / bend) * step
        return r


def dot(a: Point, b: Point) -> float:
    return float((a * b).sum())
