"""The settings for threads that wait for each other, alone and beside a busy process: the same steps, in turns.

    python -m benchmarks.bench_busy

Threads of OpenMP wait for each other after each operation. By default they wait in a loop that keeps their core busy, which
another process could use. Each setting is an environment variable of a process of its own, which is read when torch is loaded.
"""

import contextlib
import functools
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .bench_step import CASES
from .pairs import Row, by_turns, over, save
from .sides import Side
from .steps import Ours, chosen

ROUNDS = 5
CASE = next(replace(case, method="moclr", batch=64, steps=3) for case in CASES if "slim10" in case.name)
VARIABLES = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"
BUSY = [sys.executable, "-c", "while True: pass"]


@dataclass(frozen=True)
class Setting:
    """What is typed in front of the command, and the threads that compute."""

    name: str
    environment: Mapping[str, str]
    threads: int


def settings(cores: int) -> list[Setting]:
    """The settings that are compared; the first is torch's own."""
    counts = (100, 1_000, 10_000)
    return [
        Setting("no setting", {}, cores),
        Setting("OMP_WAIT_POLICY=passive", {"OMP_WAIT_POLICY": "passive"}, cores),
        *(Setting(f"GOMP_SPINCOUNT={count}", {"GOMP_SPINCOUNT": str(count)}, cores) for count in counts),
        Setting("one thread", {}, 1),
    ]


def measure(rounds: int = ROUNDS) -> Iterator[Row]:
    machine = replace(chosen(), precision="fp32")  # in bfloat16, oneDNN spins in code of its own
    compared = settings(len(os.sched_getaffinity(0)))
    with contextlib.ExitStack() as stack:
        machines = [replace(machine, compute_threads=setting.threads, workers=setting.threads) for setting in compared]
        sides = [stack.enter_context(side(Ours, setting, CASE, its)) for setting, its in zip(compared, machines)]
        works = [functools.partial(one.ask, "steps") for one in sides]
        alone = by_turns(works, rounds)
        with _busy_process():
            beside = by_turns(works, rounds)
    for where, seconds in (("alone", alone), ("beside one busy process", beside)):
        for setting, taken in zip(compared[1:], seconds[1:]):
            note = f"{_speed(taken):.0f} images/s instead of {_speed(seconds[0]):.0f}"
            yield over(taken, seconds[0]).row(f"{where}, {setting.name}", compared[0].name, note=note)


def _speed(seconds: list[float]) -> float:
    """The images a second in the median round."""
    return CASE.steps * CASE.batch / statistics.median(seconds)


def side(make: Callable[..., Any], setting: Setting, *given: object) -> Side:
    """What `make(*given)` builds, in a process with the setting; it does nothing until it is asked to."""
    before = dict(os.environ)
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(setting.environment)
    try:
        return Side(make, *given)
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen(BUSY, start_new_session=True)  # as one begun in another terminal
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    save("busy", measure())
