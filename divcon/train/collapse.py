"""Detection of a training that learns nothing: all features are alike, or the loss is that of random guesses."""

from collections import deque
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .. import dist
from ..errors import FaultError
from ..log import warning
from ..methods.contract import Outcome, Step

WARN_READINGS = 5  # readings in a row before a warning; a reading is made at each logged step
STOP_READINGS = 20  # readings in a row that find all images alike before the training is stopped
STOP_STEPS = 100  # steps that these readings span at least
GRACE_FRACTION = 0.2  # share of the training in which nothing is judged
GRACE_STEPS = 40  # steps in which nothing is judged
CHANCE_RATIO = 0.98  # loss over the loss of random guesses, above which nothing has been learned
MIN_SPREAD = 0.05  # spread below which all images look alike; random directions have 1
MIN_EFFECTIVE_RANK = 2.5  # dimensions


class CollapseMonitor:
    """Warns once of each sign of collapse, and stops a training whose features stay alike for all images.

    `stage` and `advice` are parts of the messages. `before` are the lines of metrics.jsonl up to the first step, so
    that a resumed training stops at the same step as an uninterrupted one. With `allow_collapse` nothing is stopped.
    """

    def __init__(
        self, stage: str, advice: str, before: Sequence[Mapping[str, object]] = (), *, allow_collapse: bool = False
    ):
        self.stage, self.advice, self.allow_collapse = stage, advice, allow_collapse
        self.alike = list[int]()  # the steps of the last readings in a row that found all images alike
        for line in before:
            spread, step, steps = line.get("spread"), line.get("step"), line.get("steps")
            if isinstance(spread, float) and isinstance(step, int) and isinstance(steps, int) and steps > 0:
                self._count(spread, Step(step, steps, 0))  # other lines may come from a damaged or foreign file
        self.loss_ratios: deque[float] = deque(maxlen=WARN_READINGS)  # losses over that of random guesses
        self.readings: deque[tuple[float, float]] = deque(maxlen=WARN_READINGS)  # spread and effective rank
        self.warned = set[str]()

    def watch(self, outcome: Outcome, loss: float, at: Step) -> dict[str, float]:
        """Read the outcome of a step, whose mean loss over ranks is `loss`, and return the values to log: `spread` and
        `effective_rank`, or nothing."""
        values = dict[str, float]()
        if outcome.chance is None:
            self.loss_ratios.clear()
        else:
            self.loss_ratios.append(loss / outcome.chance)
        if outcome.features is not None and len(outcome.features) > 2:
            spread, rank = dist.mean_of(spread_and_effective_rank(outcome.features))
            values = {"spread": round(spread, 4), "effective_rank": round(rank, 4)}
            self.readings.append((spread, rank))
            self._count(values["spread"], at)
        if _is_judged(at):
            self._warn_of_signs(at)
        return values

    def check(self, at: Step) -> None:
        """Raise FaultError, on every rank at once, if the images have looked alike for too long."""
        stop = len(self.alike) >= STOP_READINGS and self.alike[-1] - self.alike[0] >= STOP_STEPS
        if self.allow_collapse or not dist.any_rank(stop)[0]:
            return
        raise FaultError(
            f"{self.stage} at step {at.step:,} of {at.steps:,}: for {STOP_STEPS:,} steps or more the features have been nearly "
            f"the same for all images (spread below {MIN_SPREAD} of 1). Earlier checkpoints are kept. What helps: {self.advice} "
            "(with another out=, or after `divcon redo`). To go on all the same, type the same command with --allow-collapse"
        )

    def _count(self, spread: float, at: Step) -> None:
        """Count a reading. `spread` is rounded as in metrics.jsonl, so that a resumed training counts the same."""
        if spread >= MIN_SPREAD or not _is_judged(at):
            self.alike.clear()
        else:
            self.alike.append(at.step)

    def _warn_of_signs(self, at: Step) -> None:
        if len(self.loss_ratios) == WARN_READINGS and min(self.loss_ratios) > CHANCE_RATIO:
            self._warn(at, "chance", f"its loss is still {self.loss_ratios[-1]:.1%} of the loss of random guesses")
        if len(self.readings) < WARN_READINGS:
            return
        spread, rank = self.readings[-1]
        if max(spread for spread, _ in self.readings) < MIN_SPREAD:
            self._warn(at, "spread", f"its features are nearly the same for all images (spread {spread:.3f} of 1)")
        elif max(rank for _, rank in self.readings) < MIN_EFFECTIVE_RANK:
            self._warn(at, "rank", f"its features use only {rank:.1f} dimensions")

    def _warn(self, at: Step, sign: str, text: str) -> None:
        if sign not in self.warned:
            self.warned.add(sign)
            warning(f"{self.stage} at step {at.step:,}: {text}; {self.advice}")


def _is_judged(at: Step) -> bool:
    """Return False as long as the network may know nothing yet."""
    return at.fraction >= GRACE_FRACTION and at.step >= GRACE_STEPS


@torch.no_grad()
def spread_and_effective_rank(features: Float[Tensor, "b d"]) -> tuple[float, float]:
    """Return the spread and the effective rank of the directions of a batch of features.

    The spread is the root mean square distance of the directions from their mean: 0 if all are equal, 1 if they cancel
    out. The effective rank is exp of the entropy of the principal components' shares of the variance.
    """
    directions = F.normalize(features.float(), dim=1)
    centered = directions - directions.mean(0)
    variances = torch.linalg.svdvals(centered).square()
    total = variances.sum().clamp(min=1e-12)
    shares = variances / total
    rank = torch.exp(-torch.xlogy(shares, shares).sum())
    return float((total / len(features)).sqrt()), float(rank)
