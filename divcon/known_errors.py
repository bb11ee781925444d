"""The Error, with its exit code and advice, for any exception."""

import re

from .errors import DiskError, Error, FaultError, InputError, ResourceError, out_of_memory
from .files.disk_errors import FULL, UNWRITABLE

OUT_OF_MEMORY = re.compile("allocate memory|failed to map segment", re.IGNORECASE)  # in messages of the dynamic linker


def known_error(error: Exception) -> Error:
    """The Error, with exit code and advice, for any exception."""
    if isinstance(error, Error):
        return error
    if isinstance(error, MemoryError):
        return out_of_memory(error)
    if isinstance(error, ImportError | OSError) and OUT_OF_MEMORY.search(str(error)):
        return out_of_memory(error)
    if not isinstance(error, OSError):
        return FaultError(
            f"this is a mistake in divcon, not in what was typed: {type(error).__name__}: {error}. Nothing that was finished is "
            "lost; type it again with --debug, and report what that shows"
        )
    message = f"{error.filename or 'the output'}: {error.strerror or error}"
    if error.errno in FULL:
        return DiskError(f"{message}; make room, or name another folder (out=, cache=)")
    if error.errno in UNWRITABLE:
        return InputError(f"{message}; look at it with `ls -ld`, or name another")
    return ResourceError(f"{message}; --debug shows where")
