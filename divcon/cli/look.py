"""divcon look DATA"""

from typing import Annotated, Any

import typer

from ..files.text import printable
from .arguments import Json, Words, more_data, options
from .terminal import answer, table


def look(
    data: Annotated[
        str, typer.Argument(help="A folder of images, of any nesting, or tar shards: 'shards/{000..123}.tar'.")
    ],
    words: Words = None,
    json: Json = False,
) -> None:
    """Say what is in the pile: found, used, duplicates, rejected and why. sheet=FILE.png draws some of the pictures,
    rejected=FILE.csv lists every file that was rejected."""
    piles, words = more_data(data, words)
    pairs = options(words, "include", "exclude", "near_duplicates", "cache", "workers", "sheet", "rejected")
    from ..api.look import look as ask
    from ..config import arguments

    account = ask(piles, **arguments(ask, pairs))
    answer(account, json, _words(account))


def _words(account: dict[str, Any]) -> str:
    reasons = "".join(f"\n  {count:,} {reason}" for reason, count in account["reasons"].items())
    counts = ", ".join(f"{name} {account[name]:,}" for name in ("used", "duplicates", "rejected"))
    size = f"{account['median']['width']} x {account['median']['height']} pixels in the middle"
    near = f"; {account['near_duplicates']:,} look like another" if account["near_duplicates"] else ""
    return f"found {account['found']:,}: {counts}{near}; {size}{reasons}{_warnings(account)}{_some(account)}"


def _warnings(account: dict[str, Any]) -> str:
    """What is worth knowing of pictures that are used all the same: docs/formats.md says what each means."""
    warnings = ", ".join(f"{name} {count:,}" for name, count in account["warnings"].items())
    return f"\nof the used: {warnings}" if warnings else ""


def _some(account: dict[str, Any]) -> str:
    """A few of the rejected by name, where there are any."""
    rows = [[printable(row["path"]), row["reason"], printable(row["detail"])] for row in account["rejected_sample"]]
    if not rows:
        return ""
    more = account["rejected"] - len(rows)
    rest = f"\nand {more:,} more: rejected=FILE.csv lists them all" if more else ""
    return f"\n\n{table(['rejected', 'reason', ''], rows)}{rest}"
