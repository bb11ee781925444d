"""Score a model on several labeled folders."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..answers import Answer
from ..config import Gigabytes, Seed, Workers
from ..data.labeled.layout import Split
from ..data.labeled.scored import Truth
from ..errors import UsageError
from ..evals.tasks.contract import Task
from ..evals.tasks.registry import all_tasks, chosen_tasks, names_of
from ..files.caches import cache_folder
from ..files.text import printable
from ..nets.net import Layer
from ..nets.trained import Trained
from ..runs.evals import EvaluateAnswer
from .entry import runs_alone
from .models import Patterns, find_model
from .scored import open_scored
from .scoring import Scoring


@dataclass(frozen=True)
class TransferAnswer(Answer):
    """The answer of `transfer`: the scores on each folder, by its name as it was given, and the mean of each task's score over
    the folders that have it. `of` is the number of these folders."""

    model: str
    folders: dict[str, EvaluateAnswer]
    means: dict[str, float]
    of: dict[str, int]


@runs_alone
def transfer(
    model: str | Path | Trained,
    labeled: Sequence[str | Path],
    *,
    tasks: str | tuple[str, ...] | None = None,
    settings: dict[str, object] | None = None,
    seed: Seed = 0,
    split: Split = "auto",
    include: Patterns = (),
    exclude: Patterns = (),
    layer: Layer = "pool",
    whiten: bool = True,
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> TransferAnswer:
    """Return the scores of a model on several labeled folders, and their means.

    The options are those of `evaluate`, for each folder. Of the `tasks`, a folder has those that its labels are for. Scores
    that a run keeps for a folder are used again.
    """
    names = _folders(labeled)
    chosen_tasks(tasks, None, settings)  # a typo is refused before a folder is read
    trained, name = (model, model.fingerprint) if isinstance(model, Trained) else (find_model(model), str(model))
    folder, scorings = cache_folder(cache), dict[str, Scoring]()
    for each in names:
        data = open_scored(each, tasks, split=split, include=include, exclude=exclude, cache=folder, workers=workers)
        fitting = _fitting_tasks(tasks, data.truth, settings or {}, each)
        scorings[each] = Scoring(
            data=data,
            tasks=fitting,
            seed=seed,
            layer=layer,
            whiten=whiten,
            cache=folder,
            cache_gb=cache_gb,
            workers=workers,
        )
        scorings[each].split  # noqa: B018 - each folder is refused before hours are spent on another one
    answers = {each: replace(its.kept_or_new(trained, name), model=name) for each, its in scorings.items()}
    return TransferAnswer(name, answers, *_means(list(answers.values())))


def _folders(labeled: Sequence[str | Path]) -> list[str]:
    """The names of the folders; UsageError if there are none, or one is named twice."""
    if not labeled or isinstance(labeled, str | Path):
        raise UsageError("give a list of labeled folders, like divcon.transfer(MODEL, ['birds/', 'cars/'])")
    names = [str(folder) for folder in labeled]
    places = [os.path.realpath(name) for name in names]
    if twice := next((name for name, place in zip(names, places, strict=True) if places.count(place) > 1), None):
        raise UsageError(f"{printable(twice)} is named twice; name each folder once")
    return names


def _fitting_tasks(
    tasks: str | tuple[str, ...] | None, truth: Truth, settings: Mapping[str, object], folder: str
) -> dict[str, Task]:
    """Return the tasks that labels of this kind are for. Raises UsageError if there are none."""
    known = all_tasks()
    names = [name for name in names_of(tasks, truth) if known[name].fits(truth)]
    if not names:
        fitting = ", ".join(name for name, task in known.items() if task.truth == truth)
        raise UsageError(f"{printable(folder)}: none of the tasks is for its labels; name one of {fitting} as well")
    own = {dotted: value for dotted, value in settings.items() if dotted.partition(".")[0] in names}
    return chosen_tasks(names, truth, own)


def _means(answers: Sequence[EvaluateAnswer]) -> tuple[dict[str, float], dict[str, int]]:
    """Return the mean of each task's score over the answers that have it, and how many have it."""
    tasks = dict.fromkeys(task for answer in answers for task in answer.main_scores)
    scores = {task: [a.main_scores[task] for a in answers if task in a.main_scores] for task in tasks}
    means = {task: sum(found) / len(found) for task, found in scores.items()}
    return means, {task: len(found) for task, found in scores.items()}
