"""The cache folder: files that only save time. A command that can't write them goes on without them."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import DiskError, InputError
from ..log import warning
from .paths import expand_home
from .text import printable

NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT}
_warned: set[Path] = set()  # the caches about which a warning was logged


def cache_folder(cache: str | Path | None = None) -> Path:
    """Return the folder for indexes and pixels: `cache`, else DIVCON_CACHE, else ~/.cache/divcon.

    Raises InputError if that is a file, or in a home that does not exist.
    """
    try:
        folder = Path(expand_home(cache or os.environ.get("DIVCON_CACHE") or "~/.cache/divcon")).absolute()
    except InputError as error:
        raise InputError(f"{error}; name a folder by cache=, or in DIVCON_CACHE") from error
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"the cache {printable(folder)} is no folder; name a folder by cache=, or in DIVCON_CACHE")
    return folder


@contextlib.contextmanager
def skip_if_unwritable(cache: Path) -> Iterator[None]:
    """Suppress the error of a block that writes to a cache on a read-only disk or of another user, and warn once.

    A full disk is still an error.
    """
    try:
        yield
    except (DiskError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in NOT_WRITABLE:
            raise
        if cache not in _warned:
            _warned.add(cache)
            warning(
                f"the cache {printable(cache)} can't be written ({cause.strerror}): the command goes on without it, and images "
                "are decoded each time they are needed; name another folder by cache="
            )
