"""Tasks by name: each file of this folder has a dictionary TASKS."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import fields

from ...config import unknown_name, validate_fields
from ...data.labeled.scored import Truth
from ...errors import TooFewError, UsageError
from ...files.text import printable
from .contract import Found, Task, Trial

DEFAULTS: dict[Truth, tuple[str, ...]] = {
    "classes": ("knn", "linear"),
    "sets": ("svm",),
    "masks": ("segmentation",),
    "depths": ("depth",),
    "boxes": ("detection",),
    "none": ("rankme", "agreement", "number_of_clusters"),
}
GROUPS = {"unlabeled": DEFAULTS["none"]}  # names that stand for several tasks
LABELS: dict[Truth, str] = {
    "classes": "one class",
    "sets": "several classes",
    "masks": "a class for each pixel",
    "depths": "a depth for each pixel",
    "boxes": "boxes",
    "none": "no labels",
}
NOT_TASKS = {"contract", "registry"}


def all_tasks() -> dict[str, Task]:
    """Return each task by its name, with its default settings."""
    package = importlib.import_module(__package__)
    names = sorted({module.name for module in pkgutil.iter_modules(package.__path__)} - NOT_TASKS)
    files = (importlib.import_module(f"{__package__}.{name}") for name in names)
    return {name: task for file in files for name, task in file.TASKS.items()}


def chosen_tasks(
    names: str | Sequence[str] | None, truth: Truth | None, settings: Mapping[str, object] | None = None
) -> dict[str, Task]:
    """Return the tasks of these names, or those that images of this kind get by default.

    `settings` has values by dotted names, like {"few_shot.draws": 3}. Raises UsageError for a name that is not known, a wrong
    value, and a task for images of the other kind, unless this is None: not known yet.
    """
    wanted = names_of(names, truth)
    if not wanted:
        raise UsageError("tasks= names no task; leave it away for the usual ones")
    known = {name: task for name, task in all_tasks().items() if truth is None or task.fits(truth)}
    for name in wanted:
        if name not in known:
            raise UsageError(f"tasks={printable(','.join(wanted))}: {_refusal(name, truth, list(known))}")
    return with_settings({name: known[name] for name in wanted}, settings or {})


def names_of(names: str | Sequence[str] | None, truth: Truth | None) -> Sequence[str]:
    """Return the names, which may be one text with commas; None stands for the tasks that such labels get by default, and
    "unlabeled" for those that need no labels."""
    if names is None:
        return list(all_tasks()) if truth is None else DEFAULTS[truth]
    typed = names.split(",") if isinstance(names, str) and names else names
    return [*dict.fromkeys(name for each in typed for name in GROUPS.get(each, (each,)))]


def _refusal(name: str, truth: Truth | None, known: Sequence[str]) -> str:
    if name not in all_tasks():
        return unknown_name("task", printable(name), [*known, *GROUPS])
    other, here = LABELS[all_tasks()[name].truth], LABELS[truth or "classes"]
    return f"{name} is for images that have {other} each, and these have {here}; there is: {', '.join(known)}"


def with_settings(tasks: Mapping[str, Task], settings: Mapping[str, object]) -> dict[str, Task]:
    """Return the tasks with some settings changed."""
    changed = dict(tasks)
    for dotted, value in settings.items():
        name, _, setting = dotted.partition(".")
        if name not in changed:
            raise UsageError(f"{printable(dotted)}: {unknown_name('task', printable(name), list(tasks))}")
        task = changed[name]
        now = {field.name: getattr(task, field.name) for field in fields(task)}
        changed[name] = validate_fields(type(task), {**now, setting: value}, f"{name}.")
    return changed


def score_all(tasks: Mapping[str, Task], trial: Trial) -> dict[str, Found]:
    """Return the scores of each task. A task that has too few images gets a reason, unless it is the only one."""
    return {name: _score_or_reason(task, trial, len(tasks) == 1) for name, task in tasks.items()}


def _score_or_reason(task: Task, trial: Trial, is_only_one: bool) -> Found:
    try:
        return task.score(trial)
    except TooFewError as error:
        if is_only_one:
            raise
        return task.without(str(error))
