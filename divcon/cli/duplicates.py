"""divcon duplicates RUN [threshold=0.9] [out=FILE.csv] [sheet=FILE.png]"""

from typing import TYPE_CHECKING

from ..files.text import counted, printable
from .arguments import Json, RunArgument, Words, typed_options
from .terminal import print_answer, table

if TYPE_CHECKING:
    from ..api.duplicates import DuplicatesAnswer

SHOWN = 10  # groups


def duplicates(run: RunArgument, words: Words = None, json: Json = False) -> None:
    """Find the images that look nearly the same to the encoder of a run: crops, resized and edited copies. threshold= is the
    cosine from which on they do, out=FILE.csv lists every group, sheet=FILE.png draws the largest ones."""
    options = typed_options(
        words, "threshold", "out", "sheet", "seed", "whiten", "data", "cache", "cache_gb", "workers"
    )
    from ..api import duplicates
    from ..config import validate_arguments

    answer = duplicates.duplicates(run, **validate_arguments(duplicates.duplicates, options))
    print_answer(answer, json, _text(answer))


def _text(answer: "DuplicatesAnswer") -> str:
    head = (
        f"{counted(len(answer.groups), 'group')} of images that look alike (cosine {answer.threshold:g} or more, "
        f"{answer.compared}); without {answer.others:,} of {counted(answer.images, 'image')}, one of each group would be left"
    )
    rows = [
        [str(1 + len(group.others)), printable(group.keep.path), printable(group.others[0].path)]
        for group in answer.groups[:SHOWN]
    ]
    if not rows:
        return head
    more = len(answer.groups) - len(rows)
    where = f"{printable(answer.out)} lists them all" if answer.out else "out=FILE.csv lists them all"
    rest = f"\nand {more:,} more: {where}" if more else ""
    return f"{head}\n\n{table(['images', 'largest', 'another'], rows)}{rest}"
