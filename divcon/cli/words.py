"""What is typed as key=value."""

from typing import Annotated, Any

import typer

from ..errors import UsageError

Words = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options, typed key=value.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; all else on stderr.")]


def options(words: list[str] | None, *known: str) -> dict[str, Any]:
    """The options typed; if `known` names are given, no other is accepted."""
    from ..config import typed, unknown

    pairs = typed(words or [])
    for key in pairs:
        if known and key not in known:
            raise UsageError(unknown("option", key, known))
    return pairs


def required(pairs: dict[str, Any], key: str, example: str) -> str:
    """Take out an option that has to be there."""
    if key not in pairs:
        raise UsageError(f"{key}= is missing: say where to write, like {example}")
    return str(pairs.pop(key))
