"""Reading from disks and networks that fail for a moment."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

WAITS = 0.1, 0.5  # seconds before the second and the third try
FOR_A_MOMENT = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}


def retry(read: Callable[[], T]) -> T:
    """What `read` gives; three times at the most, where the error is one that may pass. The last error is raised."""
    for wait in WAITS:
        try:
            return read()
        except OSError as error:
            if error.errno not in FOR_A_MOMENT:
                raise
        time.sleep(wait)
    return read()
