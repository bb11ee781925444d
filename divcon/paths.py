"""Paths as they are typed, and as they are said so that they can be typed again."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from .artifacts import show

Data = str | Path | Sequence[str | Path]  # a folder; or tar shards: one, a pattern of them, or several


def listed(data: Data) -> list[Path]:
    """The paths that were named, by one name or by several."""
    return [Path(data)] if isinstance(data, str | Path) else [Path(each) for each in data]


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
