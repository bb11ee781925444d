"""A check: a function in a process of its own, with a limit of time, that reports figures and claims as it finds them."""

import importlib
import multiprocessing
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

PROCESSES = multiprocessing.get_context("forkserver")
# None of these may start CUDA: a process that is forked afterwards could not use it.
PRELOADED = ["torch", "timm", "divcon.api.execution", "divcon.api.models", "divcon.data.views.kernel", "numba"]
ROOT = Path(__file__).parents[2]
LINES = 12  # of a traceback that are kept

Claim = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The device to check, the folder to work in, and True for sizes that a CPU does in seconds."""

    device: str
    folder: Path
    tiny: bool = False

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")


@dataclass(frozen=True)
class Check:
    """A function of a module of this room, and the seconds that it may take. One that is `leading` runs in this process and
    starts others itself."""

    name: str
    module: str
    seconds: float
    leading: bool = False

    def function(self) -> Callable[..., None]:
        found: Callable[..., None] = getattr(importlib.import_module(f"benchmarks.gpu.{self.module}"), self.name)
        return found


class Notes(Protocol):
    """Receives the figures of a check, and its claims, which can fail."""

    def put(self, **figures: Any) -> None: ...

    def claim(
        self, text: str, value: float, *, at_most: float | None = None, at_least: float | None = None
    ) -> None: ...


@dataclass
class Found:
    """The figures and claims of a check, as they are known so far. `changed` is called after each one."""

    changed: Callable[[], None] = lambda: None
    figures: dict[str, Any] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    def put(self, **figures: Any) -> None:
        self.figures.update(figures)
        self.changed()

    def claim(self, text: str, value: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
        met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        self.claims.append({"claim": text, "value": value, "at_most": at_most, "at_least": at_least, "met": met})
        self.changed()

    @property
    def state(self) -> str:
        if self.error:
            return "error"
        return "passed" if all(claim["met"] for claim in self.claims) else "failed"

    def as_dict(self) -> dict[str, Any]:
        kept = {"state": self.state, "seconds": round(self.seconds, 1), "error": self.error}
        return {**kept, "claims": self.claims, "figures": self.figures}


class _Sender:
    """Sends what a child process finds to its parent."""

    def __init__(self, pipe: Connection):
        self.pipe = pipe

    def put(self, **figures: Any) -> None:
        self.pipe.send(("put", (), figures))

    def claim(self, text: str, value: float, **bounds: float | None) -> None:
        self.pipe.send(("claim", (text, value), bounds))


def alone(found: Found, function: Callable[..., None], seconds: float, *arguments: Any) -> int | None:
    """Call `function(*arguments, notes)` in a process of its own, and return its exit code.

    An exception, or a process that lasts too long, becomes `found.error`.
    """
    begin, (ours, theirs) = time.monotonic(), PROCESSES.Pipe()
    process = PROCESSES.Process(target=_call, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        if not _received_all(ours, found, begin + seconds):
            process.kill()
            found.error = found.error or "its time was over"
    finally:
        process.join(5)
        process.kill()
        process.join()
        found.seconds += time.monotonic() - begin
    return process.exitcode


def _received_all(pipe: Connection, found: Found, deadline: float) -> bool:
    """Take what a child sends until it ends, and return True; False if it has not ended by the deadline."""
    while pipe.poll(max(0.0, deadline - time.monotonic())):
        try:
            name, arguments, figures = pipe.recv()
        except (EOFError, ConnectionResetError):
            return True
        if name == "error":
            found.error = arguments[0]
        else:
            getattr(found, name)(*arguments, **figures)
    return False


def _call(pipe: Connection, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    try:
        function(*arguments, _Sender(pipe))
    except BaseException:
        pipe.send(("error", (last_lines(traceback.format_exc()),), {}))


def last_lines(text: str) -> str:
    """The end of a traceback, with the paths of the project's files from the project on."""
    return "\n".join(text.strip().replace(f"{ROOT}/", "").splitlines()[-LINES:])


def run(check: Check, place: Place, notes: Notes) -> None:
    """Called in a process of its own, where the check's module is imported."""
    check.function()(place, notes)
