"""Write a comparison to files: a table as CSV or JSON, and a plot of accuracy against cost."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.index.csv_table import write_csv
from ..files.atomic import atomic_write, write_text
from .comparison import CompareAnswer, ComparedRecipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLES, PLOTS = (".csv", ".json"), (".svg", ".png", ".pdf")
SCORES = (("knn", "20-NN"), ("linear", "linear classifier"))  # field, name
MARKERS = "osD^vP*X<>"  # of the recipes in turn: colors alone are not seen by all


def write_table(answer: CompareAnswer, path: Path) -> None:
    """Write the answer as JSON, or the rows of its recipes as CSV."""
    if path.suffix == ".json":
        write_text(path, json.dumps(answer.as_json(), indent=1) + "\n")
        return
    names = [field.name for field in fields(ComparedRecipe) if field.name not in ("scores", "spreads")]
    titles = answer.titles
    rows = [
        [getattr(row, name) for name in names]
        + [part.get(title) for title in titles for part in (row.scores, row.spreads)]
        for row in answer.recipes
    ]
    head = [*names, *(f"{title}{part}" for title in titles for part in ("", "_spread"))]
    write_csv(path, head, [[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def draw_plot(answer: CompareAnswer, path: Path) -> None:
    """Draw the accuracies of the recipes against their cost: FLOPs, or images seen if FLOPs are not known of all."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    with matplotlib.rc_context({"svg.hashsalt": "divcon", "svg.fonttype": "none"}):  # the same file each time
        axes = figure.subplots(1, len(SCORES), sharey=True)
        for each, (score, name) in zip(axes, SCORES, strict=True):
            _draw_score(each, answer.recipes, score)
            each.set_title(name)
        axes[0].set_ylabel("accuracy in percent")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        with atomic_write(path) as part:
            metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
            figure.savefig(part, format=path.suffix[1:], metadata=metadata, dpi=150)


def _draw_score(axes: "Axes", recipes: Sequence[ComparedRecipe], score: str) -> None:
    by_flops = all(row.flops is not None for row in recipes)
    for row, marker in zip(recipes, itertools.cycle(MARKERS)):
        accuracy, spread = getattr(row, score), getattr(row, f"{score}_spread")
        cost = row.flops if by_flops else row.images_seen
        if accuracy is not None and cost is not None:
            label = f"{row.recipe} ({row.runs} runs)" if row.runs > 1 else row.recipe
            height = None if spread is None else 100 * spread
            axes.errorbar(cost, 100 * accuracy, yerr=height, fmt=marker, capsize=4, label=label.replace("$", r"\$"))
    axes.set(xlabel="FLOPs" if by_flops else "images seen", xscale="log")
    axes.grid(alpha=0.3)
