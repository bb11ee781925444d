"""divcon redo RUN STAGE"""

from typing import Annotated

import typer

from ..errors import few
from .arguments import Json, RunArgument
from .terminal import print_answer


def redo(
    run: RunArgument,
    stage: Annotated[str, typer.Argument(help="A stage: base, clusters, experts/3, student ...")],
    json: Json = False,
) -> None:
    """Remove a stage and the stages after it. The next `divcon run` does them again."""
    from ..api import redo

    answer = redo.redo(run, stage)
    text = f"removed {few(answer.removed)}" if answer.removed else "nothing was there to remove"
    print_answer(answer, json, text)
