"""The door of each verb. What a host program hands over is understood as if it were typed: `~` in a path is home, numbers
of NumPy are numbers, and split="none" is None. What the host has set for its own work is as before afterwards (ambient.py)."""

import contextlib
import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from .. import host_settings
from ..errors import UsageError
from ..files.paths import expand_home
from ..files.text import printable

P = ParamSpec("P")
R = TypeVar("R")
# options and arguments that are paths; `recipe` and `init` have other values too, of which none begins with ~
PATH_ARGUMENTS = {
    "data",
    "out",
    "model",
    "labeled",
    "run",
    "cache",
    "sheet",
    "rejected",
    "base",
    "labels",
    "init",
    "recipe",
}
OUTPUT_ARGUMENTS = {"out", "sheet", "rejected", "cache"}
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/{1,2}[^/]|file:/", re.IGNORECASE)  # with slashes that pathlib may have joined
UNTRAINED = "random:"  # before a path, or a name


def runs_alone(function: Callable[P, R]) -> Callable[P, R]:
    """The function, behind the door. One thread at a time is in there."""
    return _behind(function, host_settings.set_aside)


def runs_concurrently(function: Callable[P, R]) -> Callable[P, R]:
    """A function that computes nothing: other verbs may be at work meanwhile, in other threads."""
    return _behind(function, contextlib.nullcontext)


def _behind(function: Callable[P, R], inside: Callable[[], contextlib.AbstractContextManager[None]]) -> Callable[P, R]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        given.arguments = {name: convert_argument(name, value) for name, value in given.arguments.items()}
        with inside():
            return function(*given.args, **given.kwargs)

    return called


def convert_argument(name: str, value: Any) -> Any:
    """The value that is meant under this name, `base.lr` or `out`. All that is no path, no number and no split="none" stays
    as it is."""
    if isinstance(value, Mapping):
        return {key: convert_argument(str(key), each) for key, each in value.items()}
    if name.rpartition(".")[2] == "split":  # a tuple names folders, and one of them may be called none
        return None if isinstance(value, str) and value.casefold() == "none" else value
    if isinstance(value, list | tuple):
        return type(value)([convert_argument(name, each) for each in value])
    if isinstance(value, str | bytes | os.PathLike) and name.rpartition(".")[2] in PATH_ARGUMENTS:
        return _path(value, name)
    return value.tolist() if hasattr(value, "tolist") else value  # arrays, and the numbers in them


def _path(value: str | bytes | os.PathLike[str], name: str) -> str | Path:
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
