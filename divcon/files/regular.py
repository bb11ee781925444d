"""Reading of regular files, where a path may lead to a FIFO or a device instead."""

import os
import stat
from pathlib import Path
from typing import IO


def read_regular_file(path: Path) -> bytes:
    """Return the content of a file; raise ValueError, without waiting, if `path` is no regular file."""
    if not stat.S_ISREG(path.stat().st_mode):  # checked first: to open a device may have an effect
        raise ValueError("no file")
    with open_nonblocking(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no file")
        return file.read()


def open_nonblocking(path: Path | bytes) -> IO[bytes]:
    """Open a file for reading; never wait for a writer if `path` is a FIFO."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
