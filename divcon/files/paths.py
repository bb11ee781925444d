"""Paths as they are typed, and as they are said so that they can be typed again."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import InputError

if TYPE_CHECKING:
    pass
import shlex
from collections.abc import Sequence

from ..errors import UsageError
from .atomic import disk_errors
from .text import printable

PathLike = str | bytes | os.PathLike[str]
Data = PathLike | Sequence[PathLike]  # a folder; or tar shards: one, a pattern of them, or several


def as_paths(data: Data) -> list[Path]:
    """The paths that were named, by one name or by several."""
    names = [data] if isinstance(data, str | bytes | os.PathLike) else data
    return [Path(os.fsdecode(each)) for each in names]


def refuse_inside_collection(data: Data, name: str, path: Path) -> None:
    """UsageError, if a picture that is to be written would lie in the pile: the next time it would be one of it."""
    for pile in as_paths(data):
        if path.resolve().is_relative_to(pile.resolve()):
            beside = shell_quoted(pile.resolve().parent / path.name)
            raise UsageError(
                f"{name}={printable(path)} lies inside the collection, and would be one of its pictures the next time; name a file "
                f"outside {printable(pile)}, like {name}={beside}"
            )


def shell_quoted(path: Path | str) -> str:
    """A path as a shell takes it, in one word."""
    return shlex.quote(printable(path))


def printable_data(data: Data) -> str:
    """The same of what was named: all of it, or, of many, the first and how many more."""
    first, *more = as_paths(data)
    return f"{shell_quoted(first)}{f' (and {len(more):,} more)' if more else ''}"


def nearest_existing_folder(path: Path) -> Path:
    """The folder itself, or the nearest above that is there."""
    return next(above for above in (path.absolute(), *path.absolute().parents) if above.is_dir())


Named = TypeVar("Named", bound=str | Path)


def expand_home(typed: Named) -> Named:
    """The path that is meant: `~` is home, as a shell has it, and `./~` is a name like any other. InputError where there is
    no such home."""
    text = str(typed)
    if not text.startswith("~"):
        return type(typed)(Path(text).absolute()) if str(Path(text)).startswith("~") else typed
    found = os.path.expanduser(text)  # noqa: PTH111 - pathlib's forgets that ./~ is another path
    if found.startswith("~"):
        raise InputError(f"{printable(text)}: there is no such home; a folder that is called so is ./{printable(text)}")
    return type(typed)(found)


def refuse_unwritable(path: Path) -> None:
    """DiskError, before any work, where a file can't be put in this place."""
    above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    number = errno.EISDIR if path.is_dir() else errno.ENOTDIR if not above.is_dir() else 0
    if not number and not os.access(above, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(above).f_flag & os.ST_RDONLY else errno.EACCES
    if number:
        with disk_errors(path):
            raise OSError(number, os.strerror(number))
