"""Results that are only kept to save time: a command that can't keep them goes on without."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from .artifacts import show
from .errors import DiskError
from .log import warn

CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT}
_told: set[Path] = set()  # the caches of which it was said


@contextlib.contextmanager
def if_it_can_be_written(cache: Path) -> Iterator[None]:
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
            warn(
                f"the cache {show(cache)} can't be written ({cause.strerror}): what is found out is not kept, and images are "
                "decoded each time they are needed; name another folder by cache="
            )
