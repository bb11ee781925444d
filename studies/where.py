"""The budget from which on dividing pays, and the network that is small enough for it: MoCLR and DnC at 15, 30, 60 and 120 passes, on two
collections, with the slim encoder and with one half as wide, five seeds.

    make study NAME=where

DnC's base at some budget is MoCLR at half of it, with the same seed: it is trained once. The cheap runs come first. Millions of
images to show in all, shared bases once: 7.3 at 15 passes, 11.7 at 30, 17.6 at 60, 35.2 at 120; at 300 images a second on one
core these are 7, 11, 16 and 33 hours. Stop it anywhere: what is done by then is a study of the smaller budgets.

Controls that options give today:

- MoCLR at half of the budget, which is DnC's base (its line "its base" comes from DnC's own row).
- K = 1: one expert on everything, then a student (`clusters.k=1`): the same budget and the same distillation, nothing divided.

The rows of 2026-11-26 are of code in which the student had no loss of its own (`student.own=0` now). Newer code makes other rows of
the lines "DnC", which are not compared with those. Controls that no option makes (random parts, self-distillation, encoders side by
side, whitened targets) are in `studies/many`.
"""

from collections.abc import Mapping
from typing import Any

from studies.instrument.table import UNTRAINED, Run

PASSES = (15, 30, 60, 120)
SEEDS = range(5)
PILES = {"openclipart": "Open Clip Art", "mixture": "Mixture"}
ENCODERS = {"slim10": "width 16", "slim10_w8": "width 8"}


def runs() -> list[Run]:
    """Ordered by budget, and then by seed: a study that is stopped has the same seeds of everything."""
    untrained = [
        one("untrained", UNTRAINED, data, encoder, seed) for seed in SEEDS for data in PILES for encoder in ENCODERS
    ]
    trained = [
        run
        for passes in PASSES
        for seed in SEEDS
        for data in PILES
        for encoder in ENCODERS
        for run in at(passes, data, encoder, seed)
    ]
    return untrained + trained


def at(passes: int, data: str, encoder: str, seed: int) -> list[Run]:
    """The runs that are compared at a budget."""
    moclr, budget = f"MoCLR, {passes} passes", {"epochs": passes}
    lines = [
        one(moclr, "moclr", data, encoder, seed, budget),
        one(f"DnC, {passes} passes", "dnc", data, encoder, seed, budget, moclr),
    ]
    if passes <= 30:
        whole = {**budget, "clusters.k": 1}
        lines.append(one(f"one expert on everything, {passes} passes", "dnc", data, encoder, seed, whole, moclr))
    return lines


def one(
    line: str, recipe: str, data: str, encoder: str, seed: int, options: Mapping[str, Any] | None = None, against: str | None = None
) -> Run:  # fmt: skip
    own = {"encoder": encoder, "size": 32, **(options or {})}
    table = f"{PILES[data]}, {ENCODERS[encoder]}"
    return Run(table=table, line=line, data=data, recipe=recipe, seed=seed, options=own, against=against)
