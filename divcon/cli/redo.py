"""divcon redo RUN STAGE"""

from typing import Annotated

import typer

from ..errors import few
from .arguments import Json
from .terminal import print_answer


def redo(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    stage: Annotated[str, typer.Argument(help="A stage: base, clusters, experts/3, student ...")],
    json: Json = False,
) -> None:
    """Forget a stage and what follows from it, so that the next `divcon run` does them anew."""
    from ..api.redo import redo as forget

    removed = forget(run, stage)
    print_answer({"removed": removed}, json, f"removed {few(removed)}" if removed else "nothing was there to remove")
