"""What can go wrong for a user, and the exit code each gets (those of sysexits.h, where they fit).

    Error
      UsageError   64  an option that is unknown, ill-formed, or differs from what a finished stage was done with
      DataError    65  the images are too few, too alike, or not what they were
        DamagedError   a file that was written by us can't be read back
      InputError   66  what was named is not there, or can't be read
      FaultError   70  numbers went wrong: a loss that is not finite, an encoder that sees the same in all images
      ResourceError 71 too little memory, or a process that kept dying
      OwnedError   73  the folder belongs to a running process, or to something else
      DiskError    74  the disk is full or can't be written
      WaitingError 75  another stage has to be done first
      StoppedError 75  asked to stop by SIGTERM or SIGUSR1; everything is saved
    InterruptError 130  stopped by Ctrl-C; everything is saved. A KeyboardInterrupt, and no Error

A message says what is wrong, where, and what to type next. Of many things it names three (`few`).
"""

import resource
import sys
from collections.abc import Iterable

NAMED = 3  # of many things, in a message


class Error(Exception):
    """Something the user can mend. `code` is the command line's exit code."""

    code = 1


class UsageError(Error):
    code = 64


class DataError(Error):
    code = 65


class DamagedError(DataError, ValueError):
    """A file of ours that can't be read back."""


class InputError(Error):
    code = 66


class FaultError(Error):
    code = 70


class ResourceError(Error):
    code = 71


def out_of_memory(error: BaseException) -> ResourceError:
    """What to say when a program, a library or a device has no more memory."""
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
    code = 75


class StoppedError(Error):
    code = 75


class InterruptError(KeyboardInterrupt):
    """Ctrl-C, once what is in hand is saved. A loop that goes on after every Exception ends here."""

    code = 130


def few(things: Iterable[object], joint: str = ", ") -> str:
    """The first things in words, and how many more there are."""
    words = [str(thing) for thing in things]
    more = len(words) - NAMED
    return joint.join(words) if more <= 0 else f"{joint.join(words[:NAMED])}{joint}and {more:,} more"
