"""Arguments that several verbs share, and options typed as key=value."""

import os
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..files.paths import expand_home

DATA_HELP = "A folder of images, of any nesting, or tar shards: 'shards/{000..123}.tar'."
DataArgument = Annotated[str, typer.Argument(help=DATA_HELP)]
ModelArgument = Annotated[
    str, typer.Argument(help="A run, a stage's folder, an export as safetensors, random:RUN, or random:NAME.")
]
RunArgument = Annotated[str, typer.Argument(help="A run folder.")]
RunsArgument = Annotated[str, typer.Argument(metavar="RUN...", help="The folder of a run; or several.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options, typed key=value.")]
Shard = Annotated[str | None, typer.Option(help="Do one part only, e.g. 3/8; the last process joins the parts.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; all else on stderr.")]


def typed_options(words: list[str] | None, *known: str) -> dict[str, Any]:
    """Parse the options of a verb; with names in `known`, raise UsageError for any other name."""
    from ..config import parse_options, unknown_name

    for word in words or []:
        if _is_path(word):
            raise UsageError(
                f"{word} is a path too many for this command; quote patterns, and type options as key=value"
            )
    options = parse_options(words or [])
    for key in options:
        if known and key not in known:
            raise UsageError(unknown_name("option", key, known))
    return options


def split_data_and_options(data: str, words: list[str] | None) -> tuple[str | list[str], list[str]]:
    """Return DATA and the options: a shell makes several words of DATA from shards/*.tar without quotes."""
    files = [word for word in words or [] if _is_path(word)]
    return [data, *files] if files else data, [word for word in words or [] if word not in files]


def split_runs_and_options(run: str, words: list[str] | None) -> tuple[list[str], list[str]]:
    """Return the RUNs, or other folders, and the options; a word is a folder if it has no key."""
    runs = [word for word in words or [] if not _has_key(word)]
    return [run, *runs], [word for word in words or [] if _has_key(word)]


def is_option(word: str) -> bool:
    """True for key=value, unless a file has that name."""
    return _has_key(word) and not os.path.lexists(word)


def _has_key(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return bool(equals) and "/" not in key


def _is_path(word: str) -> bool:
    """True for the name of a file or folder that exists; a key has no slash in it."""
    return not _has_key(word) and os.path.lexists(expand_home(word))


def take_output(options: dict[str, Any], key: str, example: str) -> str:
    """Remove a required option from the options and return its value; raise UsageError if it is missing."""
    if key not in options:
        raise UsageError(f"{key}= is missing: say where to write, like {example}")
    return str(options.pop(key))
