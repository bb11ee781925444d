"""Commands in processes of their own, that may be killed: forked from one that has imported everything, so that none
spends its time on that."""

import multiprocessing
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["divcon.cli", "divcon.api.execution", "divcon.api.models", "divcon.data.views.kernel"])
Moment = Callable[[int], bool]
SMALL = {
    "size": 16,
    "encoder": "slim10_w8",
    "batch_size": 24,
    "clusters.k": 3,
    "clusters.smallest": 20,
    "precision": "fp32",
    "save_every": 0,
    "report": "false",
    "expert.ranks": 1,
}  # options of a run that takes seconds on several ranks
TURN = 0.002  # seconds between two looks


def small_options(**others: object) -> list[str]:
    """The words of a small run's options."""
    return [f"{name}={value}" for name, value in {**SMALL, **others}.items()]


class Command:
    """A command that was begun; `limits` are those of setrlimit, by number."""

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str] | None = None, limits: Mapping[int, int] | None = None
    ):
        self.begun = time.monotonic()
        self.pipe, theirs = SERVER.Pipe(duplex=False)
        self.process = SERVER.Process(target=_main, args=(list(words), theirs, dict(env or {}), dict(limits or {})))
        self.process.start()
        theirs.close()

    def end(self, seconds: float = 120) -> tuple[int, str]:
        """Its exit code (minus the number of the signal that ended it), and all it said. It is killed if it lasts too
        long."""
        said, deadline = b"", time.monotonic() + seconds
        while select.select([self.pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            more = os.read(self.pipe.fileno(), 65536)
            if not more:
                break
            said += more
        self.process.join(max(0.0, deadline - time.monotonic()))
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        assert code is not None
        return code, said.decode()

    def wait_for(self, moment: Moment, seconds: float = 120) -> "Command":
        """Until the moment has come for it, or it has ended."""
        deadline = time.monotonic() + seconds
        while self.process.exitcode is None and time.monotonic() < deadline and not moment(self.process.pid or 0):
            time.sleep(TURN)
        return self

    def hit(self, number: int = signal.SIGKILL) -> "Command":
        os.kill(self.process.pid or 0, number)
        return self


def done(
    words: Sequence[str], env: Mapping[str, str] | None = None, limits: Mapping[int, int] | None = None
) -> tuple[int, str]:
    """A command from beginning to end: its exit code, and what it said."""
    return Command(words, env, limits).end()


def _main(
    words: list[str], out: "multiprocessing.connection.Connection", env: dict[str, str], limits: dict[int, int]
) -> None:
    for stream in (1, 2):
        os.dup2(out.fileno(), stream)
    out.close()
    os.fsync = lambda handle: None  # as in conftest.py
    os.environ.update(env)
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    from divcon.cli import main

    sys.argv = ["divcon", *words]
    main()
