"""The gain of keeping freed memory while a stage runs: the same steps with and without it, in turns.

    python -m benchmarks.bench_allocator

Each side has its own process, because `mallopt` ends the C library's own tuning in a process for good. The time is processor
time on one thread, so other work on the machine does not count.
"""

import functools
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from divcon.machine import PRECISIONS, Machine

from .bench_step import CASES
from .pairs import Row, over, save
from .sides import Side
from .steps import Case, Ours

PAIRS = 9
NAMES = "ResNet-18 with small stem", "slim10"
SOME = tuple(replace(case, batch=64) for case in CASES if any(name in case.name for name in NAMES))


class Stage(Ours):
    """Steps of a stage that does not end: the machine is in use all the while."""

    def __init__(self, case: Case, machine: Machine):
        super().__init__(case, machine)
        self.stage = ExitStack()
        self.stage.enter_context(machine.use())

    def turn(self) -> tuple[float, float]:
        """Seconds of the processor, and pages that the system handed out, for a few steps."""
        before, pages = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self.steps()
        return time.process_time() - before, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages

    def close(self) -> None:
        self.stage.close()


def measure(pairs: int = PAIRS) -> Iterator[Row]:
    for case in SOME:
        for precision in PRECISIONS:
            machine = Machine(precision=precision)
            with (
                Side(Stage, case, machine) as kept,
                Side(Stage, case, replace(machine, keep_memory=False)) as given_back,
            ):
                rounds = [_round(kept, given_back, i) for i in range(-1, pairs)][1:]
            ours, theirs = zip(*rounds)
            pages = (statistics.median(page for _, page in side) for side in (ours, theirs))
            note = "pages a turn: {:,.0f} instead of {:,.0f}".format(*pages)
            ratio = over([seconds for seconds, _ in ours], [seconds for seconds, _ in theirs])
            yield ratio.row(
                f"{case.name.partition(', batch')[0]}, batch 64, {precision}", "memory given back", note=note
            )


def _round(kept: Side, given_back: Side, turn: int) -> tuple[tuple[float, float], tuple[float, float]]:
    asks = [functools.partial(side.ask, "turn") for side in (kept, given_back)]
    if turn % 2:
        second, first = asks[1](), asks[0]()
        return first, second
    return asks[0](), asks[1]()


if __name__ == "__main__":
    save("allocator", measure())
