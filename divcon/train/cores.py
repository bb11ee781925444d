"""A warning if other processes, or a limit of the container, keep the cores from the threads of a training on a CPU."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import dist
from ..log import warning
from ..runs.stage import StageContext

WINDOW = 60.0  # seconds that are judged together
MIN_SHARE = 0.75  # of the processor time that the threads ask for; a training that gets less is called slow
MIN_ASKED = 0.5  # cores; a training that asks for less waits for something else
GROUPS = Path("/sys/fs/cgroup")

warned = set[Path]()  # the runs that this process has warned of


@dataclass(frozen=True)
class CoreUse:
    """What this process has used so far, in seconds: the time that each thread has computed and has waited for a core, and the
    time in which the limit of the container paused it."""

    threads: Mapping[str, tuple[float, float]]
    throttled: float = 0.0

    def since(self, before: "CoreUse") -> tuple[float, float, float]:
        """Return the seconds computed, waited and paused since `before`. Threads that have ended meanwhile do not count."""
        begun = ((now, before.threads.get(thread, (0.0, 0.0))) for thread, now in self.threads.items())
        spent = [(max(0.0, now[0] - then[0]), max(0.0, now[1] - then[1])) for now, then in begun]
        return sum(s[0] for s in spent), sum(s[1] for s in spent), self.throttled - before.throttled


class CoresMonitor:
    """Warns once in a run if its threads get clearly less processor time than they ask for.

    Linux counts the time in which a thread could compute and had no core. So a training that waits for images or is stopped for
    a while is not called slow. Where the system does not count it, and on a GPU, nothing is said.
    """

    def __init__(
        self,
        context: StageContext,
        *,
        clock: Callable[[], float] = time.monotonic,
        use: Callable[[], CoreUse | None] | None = None,
        cores: int | None = None,
    ):
        self.name, self.run = context.name, context.folder.absolute().parents[context.name.count("/")]
        self.threads, self.cores = context.machine.compute_threads, cores or _own_cores()
        self.clock, self.use = clock, use or core_use
        self.is_watching = context.machine.device == "cpu" and dist.rank() == 0
        self._begin_window()

    def after_step(self) -> None:
        """Judge the time since the last judgment, if it is long enough."""
        if not self.is_watching or self.clock() - self.begin < WINDOW:
            return
        begin, before = self.begin, self.before
        self._begin_window()
        if before is None or self.before is None or self.run in warned:
            self.is_watching = False
            return
        said = slowness(*self.before.since(before), self.begin - begin, self.cores, self.threads)
        if said:
            warned.add(self.run)
            warning(f"{self.name}: {said}")

    def _begin_window(self) -> None:
        self.begin, self.before = self.clock(), self.use() if self.is_watching else None


def slowness(computed: float, waited: float, throttled: float, seconds: float, cores: int, threads: int) -> str:
    """Return what keeps a training from its cores and what to type, or an empty text if nothing does."""
    got, asked = computed / seconds, min((computed + waited) / seconds, cores)
    unlimited = (computed + throttled) / seconds
    if unlimited >= MIN_ASKED and got < MIN_SHARE * unlimited:
        return (
            f"a limit of processor time pauses this container again and again: in the last {seconds:.0f} seconds it got "
            f"{got:.1f} of {cores} cores. Raise the limit. {_advice(max(1, round(got)), threads)}"
        )
    if asked < MIN_ASKED or got >= MIN_SHARE * asked:
        return ""
    return (
        f"other processes keep the cores busy: in the last {seconds:.0f} seconds this run got {got:.1f} of the {asked:.1f} cores "
        f"that it can use. Its result stays the same, but it is slow until they end. {_advice(1, threads)}"
    )


def _advice(allowed: int, threads: int) -> str:
    if threads <= allowed:
        return "It computes with as few threads as it can"
    return (
        f"It computes with {threads} threads, which wait for each other: a new run (another out=) is faster here with "
        f"OMP_NUM_THREADS={allowed} in front of the command"
    )


def _own_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_use() -> CoreUse | None:
    """Return what the threads of this process have used; None if the system does not count it."""
    threads = dict[str, tuple[float, float]]()
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError):  # a thread may end while its file is read
            computed, waited, _ = task.read_bytes().split()
            threads[task.parent.name] = int(computed) / 1e9, int(waited) / 1e9
    return CoreUse(threads, _throttled_seconds()) if threads else None


def _throttled_seconds() -> float:
    """The seconds in which a limit of processor time has paused the threads of this process's control group."""
    found = [0.0]
    for file in _group_files():
        with contextlib.suppress(OSError, ValueError):
            counts = dict(line.split() for line in file.read_text().splitlines())
            found.append(int(counts.get("throttled_usec", 0)) / 1e6 + int(counts.get("throttled_time", 0)) / 1e9)
    return max(found)


def _group_files() -> Iterator[Path]:
    """The files with the counts of this process's control groups, of version 2 and of version 1, and of those above them."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers == "" or "cpu" in controllers.split(","):
                group = GROUPS / controllers / name.lstrip("/")
                yield from (above / "cpu.stat" for above in (group, *group.parents) if above.is_relative_to(GROUPS))
