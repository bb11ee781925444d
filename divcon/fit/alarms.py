"""Notices a training that learns nothing, or forgets: what it sees of all images is alike, or its loss is that of chance."""

from collections import deque

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..log import warn
from ..method import At, Outcome

PATIENCE = 5  # readings in a row before anything is said
GRACE = 0.2  # of the training: so long, a network may know nothing
LEAST = 40  # steps: before them nothing is said at all
CHANCE = 0.98  # of the loss of chance: what is above has learned nothing
ALIKE = 0.05  # spread below which all images look alike; 1 is that of directions at random
FEW = 2.5  # dimensions


class Alarms:
    """Says once of each thing that is wrong with a training what it is and what helps. Nothing is stopped."""

    def __init__(self, stage: str, mend: str):
        self.stage, self.mend = stage, mend
        self.losses: deque[float] = deque(maxlen=PATIENCE)  # each over that of chance
        self.looks: deque[tuple[float, float]] = deque(maxlen=PATIENCE)
        self.said = set[str]()

    def watch(self, outcome: Outcome, at: At) -> dict[str, float]:
        """Read an outcome; what of it is worth logging."""
        found = {}
        if outcome.chance is None:
            self.losses.clear()
        else:
            self.losses.append(float(outcome.loss.detach()) / outcome.chance)
        if outcome.seen is not None and len(outcome.seen) > 2:
            found = dict(zip(("spread", "rank"), look := spread_and_rank(outcome.seen), strict=True))
            self.looks.append(look)
        if at.fraction >= GRACE and at.step >= LEAST:
            self._judge(at)
        return {name: round(value, 4) for name, value in found.items()}

    def _judge(self, at: At) -> None:
        if len(self.losses) == PATIENCE and min(self.losses) > CHANCE:
            self._say(at, "chance", f"its loss is still {self.losses[-1]:.1%} of what knowing nothing costs")
        if len(self.looks) < PATIENCE:
            return
        if max(spread for spread, _ in self.looks) < ALIKE:
            self._say(at, "alike", f"it sees nearly the same in all images (spread {self.looks[-1][0]:.3f} of 1)")
        elif max(rank for _, rank in self.looks) < FEW:
            self._say(at, "few", f"what it sees has come down to {self.looks[-1][1]:.1f} dimensions")

    def _say(self, at: At, what: str, words: str) -> None:
        if what not in self.said:
            self.said.add(what)
            warn(f"{self.stage} at step {at.step:,}: {words}; {self.mend}")


@torch.no_grad()
def spread_and_rank(seen: Float[Tensor, "b d"]) -> tuple[float, float]:
    """How far directions are from their mean: 0 when all are one, 1 when they cancel out; and in how many dimensions
    they differ: exp of the entropy of the shares of variance."""
    unit = F.normalize(seen.float(), dim=1)
    about = unit - unit.mean(0)
    variances = torch.linalg.svdvals(about).square()
    total = variances.sum().clamp(min=1e-12)
    shares = variances / total
    rank = torch.exp(-torch.xlogy(shares, shares).sum())
    return float((total / len(seen)).sqrt()), float(rank)
