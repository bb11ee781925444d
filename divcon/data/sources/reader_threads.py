"""Threads that read and decode images; one that hangs is named, and keeps nobody waiting for ever."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from ...errors import ResourceError
from ...files.text import printable

HUNG = 600.0  # seconds without a finished piece of work; a slow disk may take minutes to wake up
LEAVE = 5.0  # seconds for those who are at work when there is an error

_reading: dict[int, tuple[bytes, float]] = {}  # what each thread reads, and since when


@contextlib.contextmanager
def reading(name: bytes) -> Iterator[None]:
    """Say which image this thread is at."""
    _reading[threading.get_ident()] = name, time.monotonic()
    try:
        yield
    finally:
        del _reading[threading.get_ident()]


def parallel_map(do: Callable[[int], None], starts: Sequence[int], workers: int) -> None:
    """Do it for every start, spread over threads; the first error is raised here.

    ResourceError names the images at hand when nothing is finished for HUNG seconds. The threads are daemons: one that
    never comes back does not keep the process from ending.
    """
    work, done = queue.SimpleQueue[int](), queue.SimpleQueue[BaseException | None]()
    for start in starts:
        work.put(start)
    hands = [
        threading.Thread(target=_serve, args=(do, work, done), daemon=True) for _ in range(min(workers, len(starts)))
    ]
    for hand in hands:
        hand.start()
    try:
        for _ in starts:
            _one(done)
    finally:
        _drain(work)
        _leave(hands)


def _serve(
    do: Callable[[int], None], work: "queue.SimpleQueue[int]", done: "queue.SimpleQueue[BaseException | None]"
) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            start = work.get_nowait()
            try:
                do(start)
                done.put(None)
            except BaseException as error:
                done.put(error)


def _one(done: "queue.SimpleQueue[BaseException | None]") -> None:
    """Wait for one piece of work."""
    try:
        error = done.get(timeout=HUNG)
    except queue.Empty:
        raise ResourceError(
            f"reading hangs: nothing came for {HUNG:g} s, at {_at_hand()}. Look whether its disk or network answers, then "
            "type the same command again"
        ) from None
    if error is not None:
        raise error


def _at_hand() -> str:
    """The images that are being read, the longest first."""
    now = time.monotonic()
    held = sorted(_reading.copy().values(), key=lambda item: item[1])
    return ", ".join(f"{printable(name)} (for {now - since:.0f} s)" for name, since in held[:3]) or "no image"


def _leave(hands: Sequence[threading.Thread]) -> None:
    """Wait for the pieces at hand, but not for ever: a thread in a decoder while the interpreter ends may take it down."""
    deadline = time.monotonic() + LEAVE
    for hand in hands:
        hand.join(max(0.0, deadline - time.monotonic()))


def _drain(work: "queue.SimpleQueue[int]") -> None:
    """What was not begun is not begun any more."""
    with contextlib.suppress(queue.Empty):
        while True:
            work.get_nowait()
