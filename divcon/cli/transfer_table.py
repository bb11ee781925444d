"""The table of the scores of a model on several labeled folders."""

from typing import TYPE_CHECKING

from ..files.text import printable
from .terminal import table

if TYPE_CHECKING:
    from ..api.transfer import TransferAnswer
    from ..runs.evals import EvaluateAnswer

TITLES = {"knn": "20-NN"}


def transfer_text(answer: "TransferAnswer") -> str:
    """Return the table: a row for each folder, a column for each task, and the means."""
    counted = "test images" if any(found.test for found in answer.folders.values()) else "images"
    head = ["labeled folder", counted, "classes", *(TITLES.get(task, task) for task in answer.means)]
    rows = [_row(name, found, list(answer.means)) for name, found in answer.folders.items()]
    means = ["mean", "", "", *(_mean(answer, task) for task in answer.means)]
    reasons = [
        f"{printable(name)}: {task}: not scored: {reason}"
        for name, found in answer.folders.items()
        for task, reason in found.reasons.items()
    ]
    return "\n".join([table(head, [*rows, means]), *reasons])


def _row(name: str, found: "EvaluateAnswer", tasks: list[str]) -> list[str]:
    scores = found.main_scores
    shares = [f"{scores[task]:.1%}" if task in scores else "-" for task in tasks]
    classes = f"{found.classes:,}" if found.classes else "-"
    return [printable(name), f"{found.test or found.images:,}", classes, *shares]


def _mean(answer: "TransferAnswer", task: str) -> str:
    """The mean; with the number of folders, unless all have the score."""
    of = answer.of[task]
    return f"{answer.means[task]:.1%}" + ("" if of == len(answer.folders) else f" (of {of})")
