"""Stop on a signal: Ctrl-C, SIGTERM, and SIGUSR1 (a scheduler's warning) end a run after its step is finished and saved; a
second Ctrl-C ends it at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import NoReturn, TypeAlias

from .errors import InterruptError, StoppedError

Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
AT_ONCE = "stopped at once by a second Ctrl-C: all that was saved before is kept; type the same command again to go on"
_received: list[int] = []  # signals inside `deferred_signals`


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Record stop signals while the block runs, for `stop_if_requested`; then restore the handlers of before.

    A signal that came too late to stop the block is raised again for those handlers. In other threads than the main one the
    block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _record) for number in STOP_SIGNALS if _can_replace_handler(number)}
    try:
        yield
    except BaseException:
        _received.clear()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    _raise_again(before)


def _can_replace_handler(number: int) -> bool:
    """False for a signal that is ignored (as by nohup, or by a shell's &), or handled by no Python: no one could restore it."""
    return signal.getsignal(number) not in (signal.SIG_IGN, None)


def _raise_again(handlers: Mapping[signal.Signals, Handler]) -> None:
    late = [number for number in _received if callable(handlers.get(signal.Signals(number)))]
    _received.clear()
    for number in late:
        signal.raise_signal(number)


def stop_requested() -> bool:
    """Return True if a stop signal came: the caller should save and call `stop_if_requested`."""
    return bool(_received)


def stop_if_requested(saved: str) -> None:
    """Raise InterruptError or StoppedError if a stop signal came; `saved` tells the user what is saved."""
    if _received:
        stop(saved)


def stop(saved: str) -> NoReturn:
    """Raise InterruptError or StoppedError for the signal that came, to this process or to another rank."""
    number = signal.SIGINT if signal.SIGINT in _received else signal.Signals((_received or [signal.SIGTERM])[0])
    kind = InterruptError if number == signal.SIGINT else StoppedError
    raise kind(f"stopped by {number.name}: {saved}; type the same command again to go on")


def _record(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and number in _received:
        raise KeyboardInterrupt(AT_ONCE)
    _received.append(number)
