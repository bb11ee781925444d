"""Being asked to stop: Ctrl-C, SIGTERM and SIGUSR1 (as schedulers warn with) let the step in hand finish and be saved; a
second Ctrl-C does not."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from .errors import StoppedError

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_asked: list[int] = []  # the signals received while `listening`


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Within, signals are remembered for `stop_here`; outside the main thread, and after, all is as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _remember) for number in STOPPING}
    try:
        yield
    finally:
        _asked.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def asked() -> bool:
    """Whether to stop as soon as what is in hand is saved."""
    return bool(_asked)


def stop_here(saved: str) -> None:
    """Stop if asked to; `saved` says in the user's words what is kept."""
    if _asked:
        name = signal.Signals(_asked[0]).name
        code = 130 if _asked[0] == signal.SIGINT else 75
        raise StoppedError(f"stopped by {name}: {saved}; type the same command again to go on", code)


def _remember(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and number in _asked:
        raise KeyboardInterrupt
    _asked.append(number)
