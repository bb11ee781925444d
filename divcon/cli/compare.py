"""divcon compare RUN... labels=FOLDER"""

from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files.text import counted, printable
from .arguments import Json, RunsArgument, Words, split_runs_and_options, typed_options
from .terminal import print_answer, table

if TYPE_CHECKING:
    from ..api.comparison import CompareAnswer, ComparedRecipe


def compare(run: RunsArgument, words: Words = None, json: Json = False) -> None:
    """Compare finished runs on labeled images. Type labels=FOLDER; a row has the accuracy of a recipe over its seeds, the
    other scores that its runs keep, and its cost in images, FLOPs and seconds; out=FILE.csv writes the table, plot=FILE.svg draws accuracy against cost."""
    runs, words = split_runs_and_options(run, words)
    options = typed_options(words, "labels", "seed", "split", "out", "plot", "cache", "cache_gb", "workers")
    if "labels" not in options:
        raise UsageError("labels= is missing: name a folder whose subfolders are the classes, like labels=labeled/")
    from ..api import compare
    from ..config import validate_arguments

    answer = compare.compare(runs, **validate_arguments(compare.compare, options))
    print_answer(answer, json, _text(answer))


def _text(answer: "CompareAnswer") -> str:
    head = ["recipe", "runs", "20-NN", "linear", *answer.titles, "images seen", "FLOPs", "seconds"]
    of = f"{counted(answer.test, 'test image')} of {counted(answer.classes, 'class')} in {printable(answer.labels)}"
    return f"{table(head, [_cells(row, answer.titles) for row in answer.recipes])}\n\naccuracy on {of}"


def _cells(row: "ComparedRecipe", titles: list[str]) -> list[str]:
    return [
        printable(row.recipe),
        str(row.runs),
        _percent(row.knn, row.knn_spread),
        _percent(row.linear, row.linear_spread),
        *(_percent(row.scores.get(title), row.spreads.get(title)) for title in titles),
        f"{row.images_seen:,.0f}",
        "-" if row.flops is None else f"{row.flops:.2e}",
        f"{row.seconds:,.0f}",
    ]


def _percent(share: float | None, spread: float | None) -> str:
    if share is None:
        return "-"
    return f"{share:.1%}" if spread is None else f"{100 * share:.1f} ± {100 * spread:.1f}%"
