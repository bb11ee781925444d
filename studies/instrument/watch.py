"""The company a piece of work had: CPU time of all processes less that of this work, looked at every few seconds. Seconds
are worth telling only if nothing else ran.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from divcon.config import validate_fields
from divcon.files.integrity import read_json, write_json

MARK = "DIVCON_STUDY"  # in the environment of a study's processes: which run they are of
EVERY = 5.0  # seconds between two looks
LITTLE = 0.1  # of a core: what a machine does beside when it has nothing to do
COVERED = 0.9  # of the seconds that were spent: so much has to be watched
ALONE, BESIDE_US, BESIDE_OTHERS, UNKNOWN = (
    "alone", "beside other runs of a study", "beside other work", "not known"
)  # fmt: skip
WORST = (ALONE, BESIDE_US, BESIDE_OTHERS, UNKNOWN)


@dataclass(frozen=True)
class Tally:
    """Seconds that were watched, and CPU seconds meanwhile: of this work, of other runs of a study, of all the rest."""

    wall: float = 0.0
    ours: float = 0.0
    study: float = 0.0
    others: float = 0.0

    def __add__(self, more: "Tally") -> "Tally":
        return Tally(
            self.wall + more.wall, self.ours + more.ours, self.study + more.study, self.others + more.others
        )  # fmt: skip

    def taken(self, seconds: float) -> str:
        """The company in which so many seconds were spent."""
        if not self.wall or self.wall < COVERED * seconds:
            return UNKNOWN
        if self.others >= LITTLE * self.wall:
            return BESIDE_OTHERS
        return BESIDE_US if self.study >= LITTLE * self.wall else ALONE


def worst(taken: Iterator[str]) -> str:
    return max(taken, key=WORST.index, default=UNKNOWN)


@dataclass(frozen=True)
class Account:
    """Remembered beside a folder of work, over all processes that worked on it, killed ones too."""

    tally: Tally = Tally()
    dirty: bool = False  # the code had changes that were not committed
    first_for: str = ""  # the run for whose sake this was begun

    @classmethod
    def read(cls, path: Path) -> "Account":
        return validate_fields(cls, read_json(path)) if path.exists() else cls()

    def write(self, path: Path) -> None:
        write_json(path, {**vars(self), "tally": vars(self.tally)})


@dataclass(frozen=True)
class Look:
    """A moment: the clock, the CPU seconds of the whole machine, and of each process of a study, by its number and mark."""

    clock: float
    busy: float
    processes: Mapping[int, tuple[str, float]]

    def since(self, before: "Look", mark: str) -> Tally:
        ours = study = 0.0
        for pid, (whose, now) in self.processes.items():
            used = now - before.processes.get(pid, (whose, 0.0))[1]
            ours, study = (ours + used, study) if whose == mark else (ours, study + used)
        others = max(0.0, self.busy - before.busy - ours - study)
        return Tally(self.clock - before.clock, ours, study, others)


@contextlib.contextmanager
def watched(path: Path, about: Account) -> Iterator[None]:
    """Within, the account at `path` grows; it is written at each look, so that a kill loses seconds of it."""
    account = _joined(Account.read(path), about)
    account.write(path)
    mark, stop = os.environ.get(MARK, ""), threading.Event()

    def look_now_and_then() -> None:
        nonlocal account
        before, ended = look(mark), False
        while before and not ended:
            ended = stop.wait(EVERY)
            account, before = _grown(path, account, before, mark)

    thread = threading.Thread(target=look_now_and_then, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _grown(path: Path, account: Account, before: Look, mark: str) -> tuple[Account, Look]:
    now = look(mark)
    assert now
    account = replace(account, tally=account.tally + now.since(before, mark))
    account.write(path)
    return account, now


def _joined(before: Account, now: Account) -> Account:
    return Account(before.tally, before.dirty or now.dirty, before.first_for or now.first_for)


def look(mark: str) -> Look | None:
    """None where a system does not tell."""
    if not Path("/proc/stat").exists():
        return None
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, soft, stolen = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    return Look(time.monotonic(), (user + nice + system + irq + soft + stolen) / tick, _processes(mark, tick))


def _processes(mark: str, tick: int) -> dict[int, tuple[str, float]]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):  # it may have ended, or be another user's
            whose = mark if int(folder.name) == os.getpid() else _mark(folder)
            if whose is not None:
                fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
                found[int(folder.name)] = whose, (int(fields[11]) + int(fields[12])) / tick
    return found


def _mark(process: Path) -> str | None:
    for word in (process / "environ").read_bytes().split(b"\0"):
        if word.startswith(f"{MARK}=".encode()):
            return word.decode().partition("=")[2]
    return None


def parts(accounts: list[tuple[Account, float]]) -> dict[str, Any]:
    """For a row: the company of several pieces of work together, each with the seconds it took."""
    total = sum((account.tally for account, _ in accounts), Tally())
    wall = total.wall or 1.0
    return {
        "taken": worst(account.tally.taken(seconds) for account, seconds in accounts),
        "watched_seconds": round(total.wall, 1), "cores_of_other_runs": round(total.study / wall, 3),
        "cores_of_other_work": round(total.others / wall, 3), "cores_of_its_own": round(total.ours / wall, 3),
    }  # fmt: skip
