"""Paths as they are typed, and as they are said so that they can be typed again."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from .artifacts import show
from .errors import UsageError

Named = str | bytes | os.PathLike[str]
Data = Named | Sequence[Named]  # a folder; or tar shards: one, a pattern of them, or several


def listed(data: Data) -> list[Path]:
    """The paths that were named, by one name or by several."""
    names = [data] if isinstance(data, str | bytes | os.PathLike) else data
    return [Path(os.fsdecode(each)) for each in names]


def refuse_inside(data: Data, name: str, path: Path) -> None:
    """UsageError, if a picture that is to be written would lie in the pile: the next time it would be one of it."""
    for pile in listed(data):
        if path.resolve().is_relative_to(pile.resolve()):
            beside = typable(pile.resolve().parent / path.name)
            raise UsageError(
                f"{name}={show(path)} lies inside the collection, and would be one of its pictures the next time; name a file "
                f"outside {show(pile)}, like {name}={beside}"
            )


def typable(path: Path | str) -> str:
    """A path as a shell takes it, in one word."""
    return shlex.quote(show(path))


def said(data: Data) -> str:
    """The same of what was named: all of it, or, of many, the first and how many more."""
    first, *more = listed(data)
    return f"{typable(first)}{f' (and {len(more):,} more)' if more else ''}"


def nearest(path: Path) -> Path:
    """The folder itself, or the nearest above that is there."""
    return next(above for above in (path.absolute(), *path.absolute().parents) if above.is_dir())
