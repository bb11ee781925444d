"""Errors that a user can mend, and the exit code of each (from sysexits.h, where one fits).

    Error
      UsageError   64  an option is unknown, has a wrong value, or differs from the option of a finished stage
      DataError    65  the images are too few, too alike, or have changed
        DamagedError   a file that divcon wrote has changed or can't be read
      InputError   66  a file, folder or model is not there, or can't be read
      WaitingError 69  a stage that comes before must be done first
      FaultError   70  a loss is not finite, an encoder has collapsed, or divcon itself has a mistake
      ResourceError 71 there is too little memory, or a worker process died again and again
        LostError      another rank of the run is gone
      OwnedError   73  the folder belongs to a running process, or to something else
      DiskError    74  the disk is full or can't be written
      StoppedError 75  stopped by SIGTERM or SIGUSR1; everything is saved, and the same command goes on: a scheduler may requeue it
    InterruptError 130  stopped by Ctrl-C; everything is saved. It is a KeyboardInterrupt and no Error

A message says what is wrong, where, and what to type next. It names at most three of many things (`few`).
"""

import resource
import sys
from collections.abc import Iterable, Mapping

MAX_NAMED = 3  # things in a message
TOLD = "another rank raised this error"  # the note of an error that is raised here, too


class Error(Exception):
    """An error that the user can mend. `code` is the exit code of the command line."""

    code = 1


class UsageError(Error):
    code = 64


class DataError(Error):
    code = 65


class TooFewError(DataError):
    """There are too few images for a score."""


class DamagedError(DataError, ValueError):
    """A file that divcon wrote has changed or can't be read."""


class InputError(Error):
    code = 66


class FaultError(Error):
    code = 70


class ResourceError(Error):
    code = 71


class LostError(ResourceError):
    """Another rank of the run is gone: it has failed and says why itself, or it was killed."""


def out_of_memory(error: BaseException) -> ResourceError:
    """Return the error for a process, a library or a device that has no memory left."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)
    why = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ResourceError(
        f"out of memory: this process has held up to {peak:,} MB ({why[:160]}). Lower batch_size= or size= (with another "
        "out=, for they change the result), or give it more memory and type the same command again"
    )


class OwnedError(Error):
    code = 73


class DiskError(Error):
    code = 74


class WaitingError(Error):
    code = 69


class StoppedError(Error):
    code = 75


class InterruptError(KeyboardInterrupt):
    """Ctrl-C, after everything is saved. It is no Exception, so that a loop that catches those ends too."""

    code = 130


def few(things: Iterable[object], separator: str = ", ") -> str:
    """Return the first three things, and the number of others, as text."""
    names = [str(thing) for thing in things]
    more = len(names) - MAX_NAMED
    return separator.join(names) if more <= 0 else f"{separator.join(names[:MAX_NAMED])}{separator}and {more:,} more"


def to_json(error: BaseException) -> dict[str, str]:
    """Return the name and the text of an error, for another process."""
    known = isinstance(error, Error | InterruptError)
    return {"error": type(error).__name__, "message": str(error) if known else f"{type(error).__name__}: {error}"}


def from_json(told: Mapping[str, str]) -> Error | InterruptError:
    """Return the error that another process told; one of a kind that is not in this file is a FaultError."""
    kind = globals().get(told["error"])
    if isinstance(kind, type) and issubclass(kind, Error | InterruptError):
        return kind(told["message"])
    return FaultError(told["message"])


def was_told(error: BaseException) -> bool:
    """True for an error of another rank, which tells it to the user."""
    return isinstance(error, LostError) or TOLD in getattr(error, "__notes__", ())
