"""divcon status RUN [verify=true]"""

from typing import TYPE_CHECKING

from .arguments import Json, RunArgument, Words, typed_options
from .terminal import print_answer, table

if TYPE_CHECKING:
    from ..api.status import StatusAnswer


def status(run: RunArgument, words: Words = None, json: Json = False) -> None:
    """Show the state of each stage of a run. Each is done, running, waiting, interrupted or failed, with its progress, speed
    and time left; verify=true checks every hash."""
    options = typed_options(words, "verify")
    from ..api import status
    from ..config import validate_arguments
    from ..errors import DataError, few
    from ..files.paths import shell_quoted

    answer = status.status(run, **validate_arguments(status.status, options))
    print_answer(answer, json, _text(answer))
    if answer.damaged:
        raise DataError(
            f"{few(answer.damaged, '; ')}. A stage is made again by divcon redo {shell_quoted(run)} STAGE; what lies in images/ by "
            "divcon run, typed as the run was begun"
        )


def _text(answer: "StatusAnswer") -> str:
    rows = [
        [
            name,
            stage.state,
            f"{stage.progress:.0%}",
            f"{stage.seconds:.0f} s",
            f"{stage.eta:.0f} s" if stage.eta else "",
            f"{stage.images_per_second:,.0f}" if stage.images_per_second else "",
        ]
        for name, stage in answer.stages.items()
    ]
    hashes = "\nevery hash is right" if answer.damaged == [] else "".join(f"\n{each}" for each in answer.damaged or [])
    return table(["stage", "state", "done", "took", "left", "images/s"], rows) + hashes
