"""The door of each verb. What a host program hands over is understood as if it were typed: `~` in a path is home, numbers
of NumPy are numbers. What the host has set for its own work is as before afterwards (ambient.py)."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from .. import ambient
from ..artifacts import meant

P = ParamSpec("P")
R = TypeVar("R")
# options and arguments that are paths; `recipe` and `init` have other values too, of which none begins with ~
PATHS = {
    "data", "out", "model", "labelled", "run", "cache", "sheet", "rejected", "base", "labels", "init", "recipe",
}  # fmt: skip
UNTRAINED = "random:"  # before a path, or a name


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """The function, behind the door."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        given.arguments = {name: understood(name, value) for name, value in given.arguments.items()}
        with ambient.ours():
            return function(*given.args, **given.kwargs)

    return called


def understood(name: str, value: Any) -> Any:
    """The value that is meant under this name, `base.lr` or `out`; what is neither path nor number stays as it is."""
    if isinstance(value, Mapping):
        return {key: understood(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([understood(name, each) for each in value])
    if isinstance(value, str | bytes | os.PathLike) and name.rpartition(".")[2] in PATHS:
        return _path(value)
    return value.tolist() if hasattr(value, "tolist") else value  # arrays, and the numbers in them


def _path(value: str | bytes | os.PathLike[str]) -> str | Path:
    if not isinstance(value, str | Path):
        value = os.fsdecode(value)
    if isinstance(value, str) and value.startswith(UNTRAINED):
        return f"{UNTRAINED}{meant(value.removeprefix(UNTRAINED))}"
    return meant(value)
