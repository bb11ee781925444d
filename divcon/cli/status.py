"""divcon status RUN [verify=true]"""

from typing import Annotated, Any

import typer

from .arguments import Json, Words, typed_options
from .terminal import print_answer, table


def status(run: Annotated[str, typer.Argument(help="A run folder.")], words: Words = None, json: Json = False) -> None:
    """Say of each stage: done, running or waiting; how far, how fast, how long still. verify=true checks every hash."""
    pairs = typed_options(words, "verify")
    from ..api.status import status as ask
    from ..config import validate_arguments
    from ..errors import DataError, few
    from ..files.paths import shell_quoted

    account = ask(run, **validate_arguments(ask, pairs))
    print_answer(account, json, _table(account))
    if account.get("damaged"):
        raise DataError(f"{few(account['damaged'], '; ')}. Make it anew: divcon redo {shell_quoted(run)} STAGE")


def _table(account: dict[str, Any]) -> str:
    rows = [
        [
            name,
            stage["state"],
            f"{stage['progress']:.0%}",
            f"{stage['seconds']:.0f} s",
            f"{stage['eta']:.0f} s" if stage["eta"] else "",
            f"{stage['images_per_second']:,.0f}" if stage["images_per_second"] else "",
        ]
        for name, stage in account["stages"].items()
    ]
    wrong = account.get("damaged")
    damaged = "\nevery hash is right" if wrong == [] else "".join(f"\n{each}" for each in wrong or [])
    return table(["stage", "state", "done", "took", "left", "images/s"], rows) + damaged
