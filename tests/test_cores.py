"""A training that gets clearly less processor time than its threads ask for says so once in a run; no other training does."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from divcon.machine import Machine
from divcon.runs.stage import StageContext
from divcon.train import cores
from divcon.train.cores import WINDOW, CoresMonitor, CoreUse, core_use

TWO_THREADS = Machine(compute_threads=2)


class Clock:
    """A clock and the counts of the kernel, for a process of two threads; `spend` lets time pass."""

    def __init__(self) -> None:
        self.now, self.throttled = 0.0, 0.0
        self.threads = {"1": (0.0, 0.0), "2": (0.0, 0.0)}

    def time(self) -> float:
        return self.now

    def use(self) -> CoreUse | None:
        return CoreUse(dict(self.threads), self.throttled)

    def spend(self, seconds: float, computed: float, waited: float, throttled: float = 0.0) -> None:
        """`computed` and `waited` are shares of the time, for each thread."""
        self.now, self.throttled = self.now + seconds, self.throttled + throttled * seconds
        self.threads = {name: (c + computed * seconds, w + waited * seconds) for name, (c, w) in self.threads.items()}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Clock:
    monkeypatch.setattr(cores, "warned", set())
    caplog.set_level(logging.WARNING, "divcon")
    return Clock()


def monitor(clock: Clock, run: Path, name: str = "base", machine: Machine = TWO_THREADS) -> CoresMonitor:
    return CoresMonitor(StageContext(run / name, name, machine, run), clock=clock.time, use=clock.use, cores=2)


def after(clock: Clock, watch: CoresMonitor, *spent: float, windows: int = 3) -> None:
    for _ in range(windows):
        clock.spend(WINDOW + 1, *spent)
        watch.after_step()


def test_a_run_that_gets_half_of_its_cores_says_so_once(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after(clock, monitor(clock, tmp_path), 0.5, 0.5)
    after(clock, monitor(clock, tmp_path, "experts/0"), 0.5, 0.5)
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith("base: other processes") and "1.0 of the 2.0 cores" in said and "OMP_NUM_THREADS=1" in said
    after(clock, monitor(clock, tmp_path / "another"), 0.5, 0.5)
    assert len(caplog.records) == 2


def test_one_thread_is_not_told_to_use_fewer(clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    after(clock, monitor(clock, tmp_path, machine=Machine()), 0.3, 0.4)
    assert "other processes" in caplog.text and "OMP_NUM_THREADS" not in caplog.text


@pytest.mark.parametrize(
    ("spent", "why"),
    [
        ((0.95, 0.02), "alone"),
        ((0.45, 0.1), "one thread's work beside another process"),
        ((0.1, 0.02), "waiting for images"),
        ((0.02, 0.2), "waiting for images, beside others"),
        ((0.0, 0.0), "stopped"),
        ((0.98, 3.0), "more threads than cores, alone"),
    ],
)
def test_no_other_training_is_called_slow(
    spent: tuple[float, float], why: str, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after(clock, monitor(clock, tmp_path), *spent)
    assert not caplog.records, why


def test_a_stopped_process_is_not_called_slow(clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After SIGCONT the clock has gone on, and the kernel has counted nothing."""
    watch = monitor(clock, tmp_path)
    clock.spend(30, 0.95, 0.02)
    clock.spend(3600, 0.0, 0.0)
    watch.after_step()
    after(clock, watch, 0.95, 0.02)
    assert not caplog.records


def test_a_training_on_a_gpu_is_not_watched(clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    after(clock, monitor(clock, tmp_path, machine=Machine("cuda", compute_threads=2)), 0.3, 0.7)
    assert not caplog.records


def test_less_than_a_minute_is_not_judged(clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = monitor(clock, tmp_path)
    for _ in range(5):
        clock.spend(WINDOW / 6, 0.3, 0.7)
        watch.after_step()
    assert not caplog.records


def test_threads_that_end_hide_nothing_and_alarm_nobody(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The counts of a thread end with it: a difference of sums would be negative."""
    clock.threads["3"] = (1000.0, 0.0)
    watch = monitor(clock, tmp_path)
    del clock.threads["3"]
    after(clock, watch, 0.95, 0.02, windows=1)
    assert not caplog.records
    after(clock, watch, 0.5, 0.5, windows=1)
    assert len(caplog.records) == 1


def test_a_limit_of_the_container_has_an_advice_of_its_own(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after(clock, monitor(clock, tmp_path), 0.5, 0.0, 0.8)
    (record,) = caplog.records
    said = record.getMessage()
    assert "limit of processor time" in said and "1.0 of 2 cores" in said and "OMP_NUM_THREADS=1" in said
    assert "other processes" not in said


def test_a_system_that_counts_nothing_is_left_in_peace(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "use", lambda: None)
    after(clock, monitor(clock, tmp_path), 0.3, 0.7)
    assert not caplog.records


BESIDE = """
import os, subprocess, sys
from pathlib import Path
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from divcon.machine import Machine
from divcon.runs.stage import StageContext
from divcon.train import cores
cores.WINDOW = 1.5
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    watch = cores.CoresMonitor(StageContext(Path("run/base"), "base", Machine(compute_threads=2), Path("run")))
    begin = watch.begin
    while watch.clock() - begin < 5 and not cores.warned:
        watch.after_step()
finally:
    busy.kill()
    busy.wait()
"""


@pytest.mark.skipif(core_use() is None, reason="this system does not count the time that threads wait for a core")
def test_a_process_beside_a_busy_one_on_the_same_core_says_so() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(
        [sys.executable, "-c", BESIDE], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stderr.startswith("base: other processes keep the cores busy"), ended.stderr


@pytest.mark.skipif(core_use() is None, reason="this system does not count the time that threads wait for a core")
def test_what_is_counted_is_the_time_of_this_process() -> None:
    before = core_use()
    sum(i for i in range(2_000_000))
    now = core_use()
    assert before is not None and now is not None
    computed, waited, throttled = now.since(before)
    assert computed > 0.01 and waited >= 0 and throttled >= 0
