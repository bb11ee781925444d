"""The last check: MoCLR with one start and with two, and DnC, on collections that no choice was made on.

    python -m studies held_out part=test

Budgets are 30 passes, and 15 over the largest collection.
"""

from typing import Any

from studies.instrument.piles import HELD_OUT
from studies.instrument.table import Run

SEEDS = range(3)
PASSES = {"tiles": 15, "textures": 30, "stamps": 30, "scratch": 30}
NETWORK = {"encoder": "slim10", "size": 32}
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "MoCLR, one start": ("moclr", {"base.cycles": 1}),
    "MoCLR, two starts": ("moclr", {"base.cycles": 2}),
    "DnC": ("dnc", {}),
    "DnC, the student without a loss of its own": ("dnc", {"student.own": 0.0}),
}


def runs() -> list[Run]:
    """Ordered by seed: a study that is stopped has the same seeds of everything."""
    return [
        Run(
            table=data.capitalize(), line=line, data=data, recipe=recipe, seed=seed,
            options={**NETWORK, "epochs": PASSES[data], **options},
            against=None if line == "MoCLR, one start" else "MoCLR, one start",
        )
        for seed in SEEDS for data in HELD_OUT for line, (recipe, options) in LINES.items()
    ]  # fmt: skip
