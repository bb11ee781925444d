"""The curves of every training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...files.text import counted
from ..facts import RunFacts, StageFacts
from ..parts import Cell, Plot, Section, Table, decimals
from ..plots import Series, lines

MOST_POINTS = 300  # of a line in a plot
MOST_ROWS = 20  # of its table
MOST_LINES = 8  # in a plot: more can't be told apart
ABOUT = {
    "loss": "loss",
    "effective_rank": "effective rank of a batch",
    "spread": "spread of a batch, in 0..1",
    "lr": "learning rate",
}


def curves_section(facts: RunFacts) -> Section:
    """Return the section of the curves, a group for each group of stages."""
    names = list(dict.fromkeys(stage.group for stage in facts.trainings))
    groups = [_group(name, [stage for stage in facts.trainings if stage.group == name]) for name in names]
    text = "A spread near 0 or an effective rank of a few dimensions is a sign of collapse: all images look alike to the network."
    return Section("curves", "Curves", [text if groups else "No training has logged a step yet."], groups=groups)


def _group(name: str, stages: Sequence[StageFacts]) -> Section:
    quantities = [q for q in ABOUT if any(_numbers(stage.lines, q) for stage in stages)]
    shown = stages[:MOST_LINES]
    more = (
        f"The first {MOST_LINES} of {len(stages):,} are drawn; metrics.jsonl in the folder of each stage has all steps."
    )
    plots = [_plot(name, quantity, shown) for quantity in quantities]
    return Section(f"curves-{name}", name, [more] if len(stages) > MOST_LINES else [], plots)


def _plot(name: str, quantity: str, stages: Sequence[StageFacts]) -> Plot:
    series = [Series(stage.name, *_numbers(_thinned(stage.lines, MOST_POINTS), quantity)) for stage in stages]
    title = f"{name}: {ABOUT[quantity]}"
    ends = "; ".join(
        f"{line.name} from {_shown(line.y[0], quantity)} to {_shown(line.y[-1], quantity)}" for line in series if line.y
    )
    rows: list[list[Cell]] = []
    for stage in stages:
        for line in _thinned(stage.lines, max(2, MOST_ROWS // len(stages))):
            rows.append([stage.name, line["step"], _shown(line.get(quantity), quantity)])
    table = Table(
        title,
        ["stage", "step", ABOUT[quantity]],
        rows,
        "metrics.jsonl in the folder of the stage has every logged step",
    )
    about = f"{counted(len(series), 'line')} over the steps: {ends}."
    drawn = [line for line in series if line.y]
    return Plot(
        title, about, lines(f"{name}-{quantity}".replace("_", "-"), title, drawn, "step", ABOUT[quantity]), table
    )


def _numbers(lines: Sequence[Mapping[str, Any]], quantity: str) -> tuple[list[float], list[float]] | tuple[()]:
    """The steps and the values of a quantity; () where no line has it."""
    found = [(line["step"], line[quantity]) for line in lines if isinstance(line.get(quantity), int | float)]
    return ([step for step, _ in found], [value for _, value in found]) if found else ()


def _thinned(lines: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many of the lines, evenly spaced, the first and the last among them."""
    return [lines[i] for i in np.linspace(0, len(lines) - 1, min(most, len(lines))).astype(int)]


def _shown(value: object, quantity: str) -> str:
    return decimals(value, 6 if quantity == "lr" else 3)
