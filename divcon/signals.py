"""Being asked to stop: Ctrl-C, SIGTERM and SIGUSR1 (as schedulers warn with) let the step in hand finish and be saved; a
second Ctrl-C does not."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from .errors import InterruptError, StoppedError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
AT_ONCE = "stopped at once by a second Ctrl-C: all that was saved before is kept; type the same command again to go on"
_asked: list[int] = []  # the signals received while `listening`


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Within, signals are remembered for `stop_here`; outside the main thread, and after, all is as before. One that
    came too late to stop anything goes to whoever listened before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _remember) for number in STOP_SIGNALS if _may_be_heard(number)}
    try:
        yield
    except BaseException:
        _asked.clear()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    _pass_on(before)


def _may_be_heard(number: int) -> bool:
    """One that the host ignores (as what nohup or a shell's & began does) stays ignored; one that is handled by no Python
    could not be given back."""
    return signal.getsignal(number) not in (signal.SIG_IGN, None)


def _pass_on(before: dict[signal.Signals, Any]) -> None:
    late = [number for number in _asked if callable(before.get(signal.Signals(number)))]
    _asked.clear()
    for number in late:
        signal.raise_signal(number)


def stop_requested() -> bool:
    """Whether to stop as soon as what is in hand is saved."""
    return bool(_asked)


def stop_if_requested(saved: str) -> None:
    """Stop if asked to; `saved` says in the user's words what is kept."""
    if _asked:
        number = signal.SIGINT if signal.SIGINT in _asked else signal.Signals(_asked[0])
        kind = InterruptError if number == signal.SIGINT else StoppedError
        raise kind(f"stopped by {number.name}: {saved}; type the same command again to go on")


def _remember(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and number in _asked:
        raise KeyboardInterrupt(AT_ONCE)
    _asked.append(number)
