"""Paths that users type, and paths in messages that users can type again."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from .text import printable

PathLike = str | bytes | os.PathLike[str]
Data = PathLike | Sequence[PathLike]  # a folder; or tar shards: one, a pattern, or several
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/{1,2}[^/]|file:/", re.IGNORECASE)  # pathlib joins two slashes to one
StrOrPath = TypeVar("StrOrPath", bound=str | Path)


def as_paths(data: Data) -> list[Path]:
    """Return the paths of DATA, which is one path or a sequence of them."""
    names = [data] if isinstance(data, str | bytes | os.PathLike) else data
    return [Path(os.fsdecode(name)) for name in names]


def absolute_paths(data: Data) -> list[str]:
    """Return the absolute paths of DATA, for a record; none if one of them is not UTF-8, because JSON can't hold it."""
    paths = [os.fspath(path.absolute()) for path in as_paths(data)]
    return paths if all(path.encode("utf-8", "replace").decode() == path for path in paths) else []


def expand_home(path: StrOrPath) -> StrOrPath:
    """Return the path with a leading `~` or `~user` replaced by that home; `./~` stays an ordinary name.

    Raises InputError if there is no such home. To expand the result again changes nothing.
    """
    text = str(path)
    if not text.startswith("~"):
        return type(path)(Path(text).absolute()) if str(Path(text)).startswith("~") else path
    expanded = os.path.expanduser(text)  # noqa: PTH111 - pathlib's forgets that ./~ is another path
    if expanded.startswith("~"):
        raise InputError(f"{printable(text)}: there is no such home; a folder that is called so is ./{printable(text)}")
    return type(path)(expanded)


def nearest_existing_folder(path: Path) -> Path:
    """Return the path if it is a folder, else the nearest parent that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def shell_quoted(path: Path | str) -> str:
    """Return a path as one word for a shell."""
    return shlex.quote(printable(path))


def printable_data(data: Data) -> str:
    """Return DATA as words for a message: its path, or the first path and the number of others."""
    first, *more = as_paths(data)
    return f"{shell_quoted(first)}{f' (and {len(more):,} more)' if more else ''}"
