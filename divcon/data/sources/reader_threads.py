"""Threads that read and decode images; a thread that hangs is reported and never waited for without end."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from ...errors import ResourceError
from ...files.text import printable

HANG_SECONDS = 600.0  # without a finished call; a slow disk may take minutes to wake up
JOIN_SECONDS = 5.0  # for the calls that still run when there is an error

Starts = queue.SimpleQueue[int]
Results = queue.SimpleQueue[BaseException | None]

_reading: dict[int, tuple[bytes, float]] = {}  # by thread: the image that it reads, and since when


@contextlib.contextmanager
def reading(name: bytes) -> Iterator[None]:
    """Record that this thread reads the image `name`, for the message of a reader that hangs."""
    _reading[threading.get_ident()] = name, time.monotonic()
    try:
        yield
    finally:
        del _reading[threading.get_ident()]


def parallel_map(do: Callable[[int], None], starts: Sequence[int], workers: int) -> None:
    """Call `do` with every start, in up to `workers` threads; the first error is raised here.

    ResourceError names the images that are being read when no call has finished for HANG_SECONDS. The threads are
    daemons: one that never returns does not keep the process from ending.
    """
    pending, results = Starts(), Results()
    for start in starts:
        pending.put(start)
    threads = [
        threading.Thread(target=_work, args=(do, pending, results), daemon=True)
        for _ in range(min(workers, len(starts)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in starts:
            _wait_for_one(results)
    finally:
        _clear(pending)
        _join(threads)


def _work(do: Callable[[int], None], pending: Starts, results: Results) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            start = pending.get_nowait()
            try:
                do(start)
                results.put(None)
            except BaseException as error:
                results.put(error)


def _wait_for_one(results: Results) -> None:
    try:
        error = results.get(timeout=HANG_SECONDS)
    except queue.Empty:
        raise ResourceError(
            f"reading hangs: no image was finished for {HANG_SECONDS:g} s, while reading {_images_being_read()}. Check that its "
            "disk or network answers, then type the same command again"
        ) from None
    if error is not None:
        raise error


def _images_being_read() -> str:
    """Name up to three images, the one that takes longest first."""
    now = time.monotonic()
    longest = sorted(_reading.copy().values(), key=lambda item: item[1])[:3]
    return ", ".join(f"{printable(name)} (for {now - since:.0f} s)" for name, since in longest) or "no image"


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait a short time for running calls: a thread inside a decoder can crash an interpreter that ends."""
    deadline = time.monotonic() + JOIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _clear(pending: Starts) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            pending.get_nowait()
