"""Compare finished runs on labeled images, at the cost of each."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import Gigabytes, Seed, Workers
from ..data.labeled.labeled import open_labeled
from ..data.labeled.layout import Split
from ..data.labeled.unlabeled import open_unlabeled
from ..data.labeled.voc import is_voc
from ..errors import UsageError
from ..evals.tasks.registry import chosen_tasks
from ..files.caches import cache_folder
from ..files.text import printable
from ..log import warning
from ..nets.trained import Trained
from ..runs.evals import EvalKey, EvaluateAnswer, compared_alike
from ..runs.records import RunRecord, run_record
from .compared_scores import other_scores
from .comparison import CompareAnswer, ComparedRecipe, ComparedRun, recipe_names, unfairness
from .comparison_files import PLOTS, TABLES, draw_plot, write_table
from .entry import runs_alone
from .models import find_model
from .output_files import output_file
from .run_cost import Cost, CostCounter
from .scoring import Scoring

RAW = "an encoder has no whitening, so neighbors are compared by the raw features of all"


@runs_alone
def compare(
    runs: Sequence[str | Path],
    *,
    labels: str | Path,
    seed: Seed = 0,
    split: Split = "auto",
    out: str | Path | None = None,
    plot: str | Path | None = None,
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> CompareAnswer:
    """Score the final encoders of finished runs on a labeled folder, and count what each run cost.

    Runs that differ in their seeds only are a recipe. The scores that a run keeps for this folder are used again, and those of
    other tasks are shown beside them, also of tasks that need no labels; `split` and `seed` are those of `evaluate`. `out` is a
    .csv or .json file for the table, `plot` an .svg, .png or .pdf file for accuracy against cost. Neighbors are compared by
    whitened features if all encoders have a whitening. Warns if the recipes have not seen equally many images, or not the same
    ones.
    """
    records = _records(runs)
    images = [labels, *(place for record in records.values() for place in record.data)]
    table = output_file("out", out, TABLES, data=images)
    picture = output_file("plot", plot, PLOTS, data=images)
    models = {run: find_model(run) for run in records}  # a run that is not finished is refused first
    if split == "auto" and is_voc(labels):
        raise UsageError(
            f"{printable(labels)}: its images have several classes each, and runs are compared on images of one class; for the scores "
            f"of each run, type divcon eval RUN {printable(labels)}"
        )
    folder = cache_folder(cache)
    data = open_labeled(labels, split=split, cache=folder, workers=workers)
    tasks = chosen_tasks(None, "classes")
    scoring = Scoring(data=data, tasks=tasks, seed=seed, cache=folder, cache_gb=cache_gb, workers=workers)
    without_labels = replace(scoring, data=open_unlabeled(labels, cache=folder, workers=workers))
    answer = _compared(str(labels), records, models, scoring, [scoring.key, without_labels.key])
    _report(answer, table, picture)
    return answer


def _records(runs: Sequence[str | Path]) -> dict[Path, RunRecord]:
    """The records of the runs; UsageError if there are none, or one is named twice."""
    if not runs or isinstance(runs, str | Path):
        raise UsageError("give a list of runs, like divcon.compare(['runs/a', 'runs/b'], labels=FOLDER)")
    places = [os.path.realpath(run) for run in runs]
    if twice := next((run for run, place in zip(runs, places, strict=True) if places.count(place) > 1), None):
        raise UsageError(f"{printable(twice)} is named twice; name each run once")
    return {Path(run): run_record(Path(run)) for run in runs}


def _compared(
    labels: str,
    records: Mapping[Path, RunRecord],
    models: Mapping[Path, Trained],
    scoring: Scoring,
    kept_for: Sequence[EvalKey],
) -> CompareAnswer:
    """Score the models; `kept_for` are the keys of other scores that are shown beside."""
    names, counter = recipe_names(records), CostCounter()
    costs = {run: counter.cost_of(run) for run in records}
    scores = [scoring.kept_or_new(models[run], str(run)) for run in records]
    alike, others = compared_alike(scores), other_scores(models, kept_for)
    rows = [
        _row(run, names[run], record, answer, costs[run], others[run])
        for (run, record), answer in zip(records.items(), alike, strict=True)
    ]
    recipes = [
        ComparedRecipe.of(name, [row for row in rows if row.recipe == name]) for name in dict.fromkeys(names.values())
    ]
    mixed = [RAW] if alike != scores else []
    unknown = [f"a cost is not known: {each}" for cost in costs.values() for each in cost.unknown]
    _, test, dropped = scoring.split
    classes = len(scoring.data.classes) - len(dropped)
    return CompareAnswer(labels, len(test), classes, recipes, rows, [*unfairness(recipes, records), *mixed, *unknown])


def _row(
    run: Path, recipe: str, record: RunRecord, scores: EvaluateAnswer, cost: Cost, others: dict[str, float]
) -> ComparedRun:
    return ComparedRun(
        str(run),
        recipe,
        int(record.options.get("seed", 0)),
        scores.knn.top1 if scores.knn else None,
        scores.linear.top1 if scores.linear else None,
        cost.images_seen,
        cost.flops,
        cost.seconds,
        others,
    )


def _report(answer: CompareAnswer, table: Path | None, picture: Path | None) -> None:
    """Log the warnings, and write the files that were asked for."""
    for message in answer.warnings:
        warning(message)
    if table is not None:
        write_table(answer, table)
    if picture is not None:
        draw_plot(answer, picture)
