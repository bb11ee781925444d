"""What is typed as key=value."""

import os
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..files.paths import expand_home

Words = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options, typed key=value.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; all else on stderr.")]


def typed_options(words: list[str] | None, *known: str) -> dict[str, Any]:
    """The options typed; if `known` names are given, no other is accepted."""
    from ..config import parse_options, unknown_name

    for word in words or []:
        if _is_path(word):
            raise UsageError(
                f"{word} is a path too many for this command; quote patterns, and type options as key=value"
            )
    pairs = parse_options(words or [])
    for key in pairs:
        if known and key not in known:
            raise UsageError(unknown_name("option", key, known))
    return pairs


def split_data_and_options(data: str, words: list[str] | None) -> tuple[str | list[str], list[str]]:
    """DATA and the options behind it. What a shell makes of shards/*.tar without quotes is several words of DATA."""
    files = [word for word in words or [] if _is_path(word)]
    return [data, *files] if files else data, [word for word in words or [] if word not in files]


def _is_path(word: str) -> bool:
    """True for the name of a file or folder that exists; a key has no slash in it."""
    key, equals, _ = word.partition("=")
    return (not equals or "/" in key) and os.path.lexists(expand_home(word))


def take_required(pairs: dict[str, Any], key: str, example: str) -> str:
    """Take out an option that has to be there."""
    if key not in pairs:
        raise UsageError(f"{key}= is missing: say where to write, like {example}")
    return str(pairs.pop(key))
