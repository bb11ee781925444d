"""divcon eval MODEL LABELED... [tasks=knn,linear] [split=train,val]"""

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import few
from ..files.text import counted
from .arguments import Json, ModelArgument, Words, split_runs_and_options, typed_options
from .terminal import print_answer, table
from .transfer_table import transfer_text

if TYPE_CHECKING:
    from ..runs.evals import EvaluateAnswer, KnnScores, LinearScores, TaskScores

OPTIONS = ("tasks", "seed", "split", "include", "exclude", "layer", "whiten", "cache", "cache_gb", "workers")


def eval(
    model: ModelArgument,
    labeled: Annotated[
        str,
        typer.Argument(
            metavar="LABELED...",
            help="A folder whose subfolders are the classes, or train/ and test/ with such subfolders; or several.",
        ),
    ],
    words: Words = None,
    json: Json = False,
) -> None:
    """Score a model on labeled images. The scores are of kNN and of a linear classifier on its frozen features; tasks= names
    others, and TASK.SETTING= changes a setting, like few_shot.draws=3; tasks=unlabeled needs no labels. Several folders are scored in
    one table."""
    folders, words = split_runs_and_options(labeled, words)
    settings, others = split_settings(words)
    options = {**typed_options(others, *OPTIONS), "settings": typed_options(settings)}
    if len(folders) > 1:
        _transfer(model, folders, options, json)
        return
    from ..api.evaluate import evaluate
    from ..config import validate_arguments

    answer = evaluate(model, labeled, **validate_arguments(evaluate, options))
    print_answer(answer, json, _text(answer))


def _transfer(model: str, folders: list[str], options: dict[str, object], json: bool) -> None:
    from ..api.transfer import transfer
    from ..config import validate_arguments

    answer = transfer(model, folders, **validate_arguments(transfer, options))
    print_answer(answer, json, transfer_text(answer))


def split_settings(words: list[str] | None) -> tuple[list[str], list[str]]:
    """Return the words that are settings of a task, like few_shot.draws=3, and the others."""
    settings = [word for word in words or [] if "." in word.partition("=")[0] and "=" in word]
    return settings, [word for word in words or [] if word not in settings]


def _text(answer: "EvaluateAnswer") -> str:
    dropped = f"; left out, for want of images: {few(answer.dropped_classes)}" if answer.dropped_classes else ""
    classes = f", {counted(answer.classes, 'class')}" if answer.classes else ""
    counts = f"({counted(answer.images, 'image')}{classes}{dropped}{_not_used(answer)}{_parts(answer.parts)})"
    first = f"{', '.join(_scores(answer))} {counts}".strip()
    return "\n".join([first, *_thirds(answer), *_other_tasks(answer), *_reasons(answer)]).rstrip()


def _scores(answer: "EvaluateAnswer") -> list[str]:
    knn, linear = answer.knn, answer.linear
    scores = [f"20-NN {knn.k20:.1%}, 200-NN {knn.k200:.1%}{_raw(knn)}"] if knn else []
    return scores + ([f"linear {linear.top1:.1%}"] if linear and linear.top1 is not None else [])


def _raw(knn: "KnnScores") -> str:
    return f" (raw features: {knn.raw.k20:.1%}, {knn.raw.k200:.1%})" if knn.raw else ""


def _thirds(answer: "EvaluateAnswer") -> list[str]:
    """A line for each score with thirds: of classes with many images, with medium numbers, and with few."""
    scores = {"20-NN": answer.knn, "linear": answer.linear}
    return [line for name, score in scores.items() if score for line in _thirds_of(name, score)]


def _thirds_of(name: str, score: "KnnScores | LinearScores") -> list[str]:
    if score.many is None or score.medium is None or score.few is None or score.balanced is None:
        return []
    shares = f"many {score.many:.1%}, medium {score.medium:.1%}, few {score.few:.1%}"
    return [f"{name} by thirds of the classes: {shares}; balanced {score.balanced:.1%}"]


def _other_tasks(answer: "EvaluateAnswer") -> list[str]:
    scored = {name: task for name, task in (answer.tasks or {}).items() if task.score is not None}
    return [f"{name}: {task.metric} {task.score:.1%}{_more(task)}{_table(task)}" for name, task in scored.items()]


def _more(task: "TaskScores") -> str:
    more = ", ".join(f"{name} {share:.1%}" for name, share in task.more.items() if name != task.metric)
    chosen = ", ".join(f"{name} {value:g}" for name, value in task.chosen.items())
    return (f" ({more})" if more else "") + (f"; chosen: {chosen}" if len(task.chosen) in (1, 2) else "")


def _table(task: "TaskScores") -> str:
    """The rows of a task that has several, below its line; shares are 0..1 there."""
    rows = [
        [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()]
        for row in task.table or ()
    ]
    return "\n\n" + table([*task.table[0]], rows) + "\n" if task.table else ""


def _reasons(answer: "EvaluateAnswer") -> list[str]:
    tasks = answer.tasks or {}
    tables = {name: _table(tasks[name]) if name in tasks else "" for name in answer.reasons}
    return [f"{name}: not scored: {reason}{tables[name]}" for name, reason in answer.reasons.items()]


def _not_used(answer: "EvaluateAnswer") -> str:
    """What is left out and why; an image in both parts is tested on."""
    told = {
        name.replace("_", " "): count for name, count in answer.left_out.items() if count and name != "train_and_test"
    }
    return f"; not used: {', '.join(f'{count:,} ({why})' for why, count in told.items())}" if told else ""


def _parts(parts: dict[str, list[str]] | None) -> str:
    if parts is None:
        return ""
    train, test = (" and ".join(f"{name}/" for name in parts[part]) for part in ("train", "test"))
    return f"; learned from {train}, tested on {test}"
