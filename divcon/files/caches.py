"""Results that are only kept to save time: a command that can't keep them goes on without."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DiskError, InputError

if TYPE_CHECKING:
    pass

from ..log import warning
from .paths import expand_home
from .text import printable

CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT}
_told: set[Path] = set()  # the caches of which it was said


@contextlib.contextmanager
def unless_closed(cache: Path) -> Iterator[None]:
    """Go on without, where the folder is closed to us (a read-only disk, another user's): that is said once. A disk that is
    full is an error, as everywhere."""
    try:
        yield
    except (DiskError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in CLOSED:
            raise
        if cache not in _told:
            _told.add(cache)
            warning(
                f"the cache {printable(cache)} can't be written ({cause.strerror}): what is found out is not kept, and images are "
                "decoded each time they are needed; name another folder by cache="
            )


def cache_folder(asked: str | Path | None = None) -> Path:
    """Where indexes and pixels live, shared by runs: cache=, else DIVCON_CACHE, else ~/.cache/divcon."""
    try:
        folder = Path(expand_home(asked or os.environ.get("DIVCON_CACHE") or "~/.cache/divcon")).absolute()
    except InputError as error:
        raise InputError(f"{error}; name a folder by cache=, or in DIVCON_CACHE") from error
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"the cache {printable(folder)} is no folder; name a folder by cache=, or in DIVCON_CACHE")
    return folder
