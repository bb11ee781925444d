"""The rows of a comparison of runs: one for each run, and one for the runs of a recipe that differ in their seeds only."""

import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..answers import Answer
from ..config import Json
from ..files.text import printable
from ..runs.records import RunRecord

EQUAL = 0.01  # budgets may differ by this share: each stage rounds its own to whole batches


@dataclass(frozen=True)
class ComparedRun(Answer):
    """A run: the top-1 accuracies (0..1) of its final encoder, and what all its stages cost. `scores` are those of other tasks that
    the run keeps."""

    run: str
    recipe: str
    seed: int
    knn: float | None
    linear: float | None
    images_seen: int
    flops: float | None
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparedRecipe(Answer):
    """The means of a recipe's runs, and the standard deviations of their accuracies if there are several. `scores` and `spreads`
    are those of other tasks whose scores all of these runs keep."""

    recipe: str
    runs: int
    knn: float | None
    knn_spread: float | None
    linear: float | None
    linear_spread: float | None
    images_seen: float
    flops: float | None
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    spreads: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: str, rows: Sequence[ComparedRun]) -> "ComparedRecipe":
        """Return the row of a recipe, from those of its runs."""
        knn, linear, flops = ([getattr(row, name) for row in rows] for name in ("knn", "linear", "flops"))
        images, seconds = ([getattr(row, name) for row in rows] for name in ("images_seen", "seconds"))
        others = {title: [row.scores.get(title) for row in rows] for title in rows[0].scores}
        return cls(
            recipe,
            len(rows),
            _mean(knn),
            _spread(knn),
            _mean(linear),
            _spread(linear),
            statistics.fmean(images),
            _mean(flops),
            round(statistics.fmean(seconds), 1),
            _known({title: _mean(values) for title, values in others.items()}),
            _known({title: _spread(values) for title, values in others.items()}),
        )


@dataclass(frozen=True)
class CompareAnswer(Answer):
    """The answer of `compare`: a row for each recipe and for each run, and what makes the comparison unfair."""

    labels: str
    test: int
    classes: int
    recipes: list[ComparedRecipe]
    runs: list[ComparedRun]
    warnings: list[str]

    @property
    def titles(self) -> list[str]:
        """The titles of the scores of other tasks that a recipe has."""
        return list(dict.fromkeys(title for row in self.recipes for title in row.scores))


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {title: value for title, value in values.items() if value is not None}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _spread(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) == len(values) > 1 else None


def recipe_names(records: Mapping[Path, RunRecord]) -> dict[Path, str]:
    """Return a name for the recipe of each run; runs that differ in their seeds only have the same name.

    Recipes of one name are told apart by the typed options in which they differ, or else by the folder of their first run.
    """
    names = {run: _short_name(record, records.values()) for run, record in records.items()}
    first: dict[str, dict[str, Path]] = {}
    for run, record in records.items():
        first.setdefault(names[run], {}).setdefault(str(_without_seeds(record)), run)
    return {run: _with_folder(name, first[name], str(_without_seeds(records[run]))) for run, name in names.items()}


def _short_name(record: RunRecord, others: Collection[RunRecord]) -> str:
    """The recipe, and the typed options in which it differs from others of that name."""
    recipe = record.options.get("recipe")
    alike = [other for other in others if other.options.get("recipe") == recipe]
    typed = dict.fromkeys(name for other in alike for name in other.typed if not _is_seed(name) and name != "recipe")
    differ = [name for name in typed if len({str(other.options.get(name)) for other in alike}) > 1]
    return " ".join([str(recipe), *(f"{name}={_value(record, name)}" for name in differ)])


def _with_folder(name: str, first: Mapping[str, Path], settings: str) -> str:
    return name if len(first) == 1 else f"{name} ({printable(first[settings])})"


def _without_seeds(record: RunRecord) -> dict[str, Json]:
    """All that a result depends on besides the seeds: the options, and the collection."""
    options = {name: value for name, value in record.options.items() if not _is_seed(name)}
    return {**options, "collection": record.images}


def _is_seed(name: str) -> bool:
    return name.rpartition(".")[2] == "seed"


def _value(record: RunRecord, name: str) -> str:
    value = record.options.get(name)
    return printable(f"{value:g}" if isinstance(value, float) else str(value))


def unfairness(recipes: Sequence[ComparedRecipe], records: Mapping[Path, RunRecord]) -> list[str]:
    """Return warnings: the recipes have not seen equally many images, or not images of one collection."""
    least, most = (choose(recipes, key=lambda row: row.images_seen) for choose in (min, max))
    warnings = []
    if most.images_seen > least.images_seen * (1 + EQUAL):
        share = most.images_seen / least.images_seen - 1 if least.images_seen else None
        more = "" if share is None else f" ({share:.0%} more than {least.recipe})"
        warnings.append(
            f"the budgets are not equal: {most.recipe} saw {most.images_seen:,.0f} images{more}, {least.recipe} saw "
            f"{least.images_seen:,.0f}; epochs= sets the budget of a run"
        )
    collections = Counter(record.images for record in records.values())
    if len(collections) > 1:
        warnings.append(f"the runs were trained on {len(collections)} different collections")
    return warnings
