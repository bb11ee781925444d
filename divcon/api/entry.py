"""Decorators of the verbs: `runs_alone` and `runs_concurrently`.

Both convert the arguments first, so that a program can pass what a user would type: `~` is the home folder, NumPy and torch
scalars are numbers, arrays are lists, and split="none" is None.
"""

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar, get_args, get_type_hints

from .. import host_settings
from ..errors import UsageError
from ..files.paths import ADDRESS, expand_home
from ..files.text import printable

P = ParamSpec("P")
R = TypeVar("R")
# Names of options that are paths; an argument of a verb is one by its type. `recipe` and `init` have other values too; none of
# these begins with ~.
PATH_ARGUMENTS = {
    "data",
    "out",
    "model",
    "labeled",
    "image",
    "run",
    "runs",
    "cache",
    "sheet",
    "rejected",
    "base",
    "labels",
    "init",
    "recipe",
}
OUTPUT_ARGUMENTS = {"out", "plot", "sheet", "rejected", "cache"}
UNTRAINED = "random:"  # the prefix of a model that is a run's, or a named, architecture with random weights


def runs_alone(verb: Callable[P, R]) -> Callable[P, R]:
    """Decorate a verb that computes: one such call at a time in a process, with the host program's settings set aside."""
    return _decorated(verb, host_settings.set_aside)


def runs_concurrently(verb: Callable[P, R]) -> Callable[P, R]:
    """Decorate a verb that only reads or removes files: other threads may call verbs at the same time."""
    return _decorated(verb, contextlib.nullcontext)


def _decorated(verb: Callable[P, R], context: Callable[[], contextlib.AbstractContextManager[None]]) -> Callable[P, R]:
    signature, paths = inspect.signature(verb), PATH_ARGUMENTS | path_arguments(verb)

    @functools.wraps(verb)
    def decorated(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.arguments = {name: convert_argument(name, value, paths) for name, value in bound.arguments.items()}
        with context():
            return verb(*bound.args, **bound.kwargs)

    return decorated


def path_arguments(verb: Callable[..., object]) -> set[str]:
    """Return the names of the arguments whose type has a Path."""
    return {name for name, hint in get_type_hints(verb).items() if Path in (hint, *get_args(hint))} - {"return"}


def convert_argument(name: str, value: object, paths: Collection[str] = frozenset(PATH_ARGUMENTS)) -> object:
    """Return the value of the argument or option `name` as if it had been typed; `paths` are the names of those that are paths.

    A path has its `~` expanded, an array or scalar becomes a list or number, split="none" becomes None; other values are
    returned unchanged. `name` may be dotted, as in "base.lr". Raises UsageError for an output path that is a URL.
    """
    if isinstance(value, Mapping):
        return {key: convert_argument(str(key), item, paths) for key, item in value.items()}
    if name.rpartition(".")[2] == "split":  # a tuple holds names of folders, and one of these may be "none"
        return None if isinstance(value, str) and value.casefold() == "none" else value
    if isinstance(value, list | tuple):
        return type(value)([convert_argument(name, item, paths) for item in value])
    if isinstance(value, str | bytes | os.PathLike) and name.rpartition(".")[2] in paths:
        return _convert_path(value, name)
    return value.tolist() if hasattr(value, "tolist") else value


def _convert_path(value: str | bytes | os.PathLike[str], name: str) -> str | Path:
    if not isinstance(value, str | Path):
        value = os.fsdecode(value)
    if name in OUTPUT_ARGUMENTS and ADDRESS.match(str(value)):
        raise UsageError(
            f"{name}={printable(value)} is an address; results are written to a folder of this machine: name one, or type "
            f"{name}=./{printable(value)} if it is one"
        )
    if isinstance(value, str) and value.startswith(UNTRAINED):
        return f"{UNTRAINED}{expand_home(value.removeprefix(UNTRAINED))}"
    return expand_home(value)
