"""Errors of writing to a disk, in the user's words: full, read-only, not permitted, no folder."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import DiskError
from .text import printable

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
UNWRITABLE = FULL | {
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise DiskError, with advice, when the block can't write at `path`; other errors pass unchanged."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        make_room = "What was finished is kept; make room, then type the same command again"
        advice = make_room if error.errno in FULL - {errno.EROFS} else "Look at it with `ls -ld`"
        raise DiskError(
            f"can't write {printable(path)}: {error.strerror}. {advice}, or name another place (out=, cache=)"
        ) from error


def refuse_unwritable(path: Path) -> None:
    """Raise DiskError, before any work, if no file can be written at `path`."""
    above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    number = errno.EISDIR if path.is_dir() else errno.ENOTDIR if not above.is_dir() else 0
    if not number and not os.access(above, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(above).f_flag & os.ST_RDONLY else errno.EACCES
    if number:
        with disk_errors(above if number == errno.ENOTDIR else path):
            raise OSError(number, os.strerror(number))
