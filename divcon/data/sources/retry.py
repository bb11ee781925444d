"""Repeated reading from disks and networks that fail for a moment."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAITS = 0.1, 0.5  # seconds before the second and the third attempt
TRANSIENT_ERRORS = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}


def retry(read: Callable[[], T]) -> T:
    """Return the result of `read`; it is called up to three times while its error is one that may pass. The last error is raised."""
    for wait in WAITS:
        try:
            return read()
        except OSError as error:
            if error.errno not in TRANSIENT_ERRORS:
                raise
        time.sleep(wait)
    return read()
