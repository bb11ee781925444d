"""Notices a training that learns nothing, or forgets: what it sees of all images is alike, or its loss is that of chance."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .. import dist
from ..errors import FaultError
from ..log import warning
from ..methods.contract import Outcome, Step

PATIENCE = 5  # readings in a row before anything is said
ENDURANCE = 20, 100  # readings in a row, and the steps they span, before images that look alike end a training
GRACE = 0.2  # of the training: so long, a network may know nothing
LEAST = 40  # steps: before them nothing is said at all
CHANCE = 0.98  # of the loss of chance: what is above has learned nothing
ALIKE = 0.05  # spread below which all images look alike; 1 is that of directions at random
FEW = 2.5  # dimensions


class CollapseMonitor:
    """Says once of each thing that is wrong with a training what it is and what helps. One that goes on seeing the same
    in all images is stopped, unless that is allowed. `before` are the lines of its journal: who is killed and resumed
    gains no time by it."""

    def __init__(
        self, stage: str, advice: str, before: Sequence[Mapping[str, Any]] = (), *, allow_collapse: bool = False
    ):
        self.stage, self.advice, self.allow_collapse = stage, advice, allow_collapse
        self.alike = list[int]()  # the steps of the last readings in a row that found all images alike
        for line in before:
            spread, steps = line.get("spread"), line.get("steps")
            if isinstance(spread, float) and isinstance(steps, int) and steps > 0:  # it may be a stranger's
                self._count(spread, Step(line["step"], steps, 0))
        self.losses: deque[float] = deque(maxlen=PATIENCE)  # each over that of chance
        self.looks: deque[tuple[float, float]] = deque(maxlen=PATIENCE)
        self.said = set[str]()

    def watch(self, outcome: Outcome, at: Step) -> dict[str, float]:
        """Read an outcome; what of it is worth logging."""
        found = dict[str, float]()
        if outcome.chance is None:
            self.losses.clear()
        else:
            self.losses.append(float(outcome.loss.detach()) / outcome.chance)
        if outcome.features is not None and len(outcome.features) > 2:
            spread, rank = spread_and_effective_rank(outcome.features)
            found = {"spread": round(spread, 4), "rank": round(rank, 4)}
            self.looks.append((spread, rank))
            self._count(found["spread"], at)
        if _old_enough(at):
            self._judge(at)
        return found

    def check(self, at: Step) -> None:
        """FaultError, on every rank at once, if images have looked alike for too long."""
        readings, steps = ENDURANCE
        long = len(self.alike) >= readings and self.alike[-1] - self.alike[0] >= steps
        if self.allow_collapse or not dist.any_rank(long):
            return
        raise FaultError(
            f"{self.stage} at step {at.step:,} of {at.steps:,}: for {steps:,} steps or more it has seen nearly the same in all "
            f"images (spread below {ALIKE} of 1). What was saved before is kept. What helps: {self.advice} (with another out=, or "
            "after `divcon redo`). To go on all the same, type the same command with --allow-collapse"
        )

    def _count(self, spread: float, at: Step) -> None:
        """As it is in the journal, so that a resumed training stops where one that was not interrupted does."""
        if spread >= ALIKE or not _old_enough(at):
            self.alike.clear()
        else:
            self.alike.append(at.step)

    def _judge(self, at: Step) -> None:
        if len(self.losses) == PATIENCE and min(self.losses) > CHANCE:
            self._say(at, "chance", f"its loss is still {self.losses[-1]:.1%} of what knowing nothing costs")
        if len(self.looks) < PATIENCE:
            return
        if max(spread for spread, _ in self.looks) < ALIKE:
            self._say(at, "alike", f"it sees nearly the same in all images (spread {self.looks[-1][0]:.3f} of 1)")
        elif max(rank for _, rank in self.looks) < FEW:
            self._say(at, "few", f"what it sees has come down to {self.looks[-1][1]:.1f} dimensions")

    def _say(self, at: Step, what: str, words: str) -> None:
        if what not in self.said:
            self.said.add(what)
            warning(f"{self.stage} at step {at.step:,}: {words}; {self.advice}")


def _old_enough(at: Step) -> bool:
    """Whether a network should know something by now."""
    return at.fraction >= GRACE and at.step >= LEAST


@torch.no_grad()
def spread_and_effective_rank(seen: Float[Tensor, "b d"]) -> tuple[float, float]:
    """How far directions are from their mean: 0 when all are one, 1 when they cancel out; and in how many dimensions
    they differ: exp of the entropy of the shares of variance."""
    unit = F.normalize(seen.float(), dim=1)
    about = unit - unit.mean(0)
    variances = torch.linalg.svdvals(about).square()
    total = variances.sum().clamp(min=1e-12)
    shares = variances / total
    rank = torch.exp(-torch.xlogy(shares, shares).sum())
    return float((total / len(seen)).sqrt()), float(rank)
