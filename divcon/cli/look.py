"""divcon look DATA"""

from typing import TYPE_CHECKING

from ..files.text import printable
from .arguments import DataArgument, Json, Words, split_data_and_options, typed_options
from .terminal import print_answer, table

if TYPE_CHECKING:
    from ..api.look import LookAnswer


def look(data: DataArgument, words: Words = None, json: Json = False) -> None:
    """Count the files of a collection. They are found, used, duplicates, or rejected with a reason; sheet=FILE.png draws some
    of the pictures, rejected=FILE.csv lists every rejected file."""
    paths, words = split_data_and_options(data, words)
    options = typed_options(words, "include", "exclude", "near_duplicates", "cache", "workers", "sheet", "rejected")
    from ..api import look
    from ..config import validate_arguments

    answer = look.look(paths, **validate_arguments(look.look, options))
    print_answer(answer, json, _text(answer))


def _text(answer: "LookAnswer") -> str:
    reasons = "".join(f"\n  {count:,} {reason}" for reason, count in answer.reasons.items())
    counts = f"used {answer.used:,}, duplicates {answer.duplicates:,}, rejected {answer.rejected:,}"
    near = f"; {answer.near_duplicates:,} look like another" if answer.near_duplicates else ""
    size = f"{answer.median.width} x {answer.median.height} pixels in the middle"
    return f"found {answer.found:,}: {counts}{near}; {size}{reasons}{_warnings(answer)}{_rejected(answer)}"


def _warnings(answer: "LookAnswer") -> str:
    """The line of warnings about used images; docs/formats.md explains each."""
    warnings = ", ".join(f"{name} {count:,}" for name, count in answer.warnings.items())
    return f"\nof the used: {warnings}" if warnings else ""


def _rejected(answer: "LookAnswer") -> str:
    """The table of some rejected files; nothing if there are none."""
    rows = [[printable(file.path), file.reason, printable(file.detail)] for file in answer.rejected_sample]
    if not rows:
        return ""
    more = answer.rejected - len(rows)
    rest = f"\nand {more:,} more: rejected=FILE.csv lists them all" if more else ""
    return f"\n\n{table(['rejected', 'reason', ''], rows)}{rest}"
