"""divcon report RUN"""

from .arguments import Json, RunArgument, Words, typed_options
from .terminal import print_answer


def report(run: RunArgument, words: Words = None, json: Json = False) -> None:
    """Write a report of a run to look at in a browser: RUN/report.html. data=FOLDER says where the images lie now."""
    options = typed_options(words, "whiten", "data", "cache", "cache_gb", "workers")
    from ..api import report
    from ..config import validate_arguments

    answer = report.report(run, **validate_arguments(report.report, options))
    print_answer(answer, json, f"{answer.file}: {answer.bytes / 1e6:.1f} MB, to open in a browser")
