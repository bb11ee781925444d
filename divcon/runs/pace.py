"""The progress of a whole run: its stages in order, and the time that is left, by planned work and measured speed."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .. import log

LOOK = 0.1  # seconds between two estimates: a training may report thousands of steps a second
Clock = Callable[[], float]  # in seconds, monotonic


@dataclass(frozen=True)
class Work:
    """The planned work of a stage, in images that a training shows. `kind` is shared by stages of about the same speed."""

    images: float
    kind: str = ""


@dataclass(frozen=True)
class Measured:
    """The seconds that some work of a stage took."""

    stage: str
    work: Work
    seconds: float


PlanWork = Callable[[Callable[..., object], tuple[object, ...]], Work]  # of a stage, by its function and arguments


class Pace:
    """Knows which stages of a run are done, and estimates the time that the others take.

    `planned` has the work of each stage, in order. `chosen` says which stages this process is to do. `plan_work` plans a stage
    of a group, once its arguments are known.
    """

    def __init__(
        self,
        planned: Mapping[str, Work],
        *,
        chosen: Callable[[str], bool] = lambda stage: True,
        plan_work: PlanWork | None = None,
        clock: Clock = time.monotonic,
    ):
        self.planned, self.chosen, self.plan_work, self.clock = dict(planned), chosen, plan_work, clock
        self.done: set[str] = set()
        self.measured: list[Measured] = []
        self.stage, self.begun = "", clock()  # the stage that is being done
        self.share = 0.0  # of it that is done
        self.looked: tuple[float, log.RunProgress] | None = None  # the time and the result of the last estimate
        # the time and the share of its first report: the work before that warms up
        self.first: tuple[float, float] | None = None

    def shown(self) -> contextlib.AbstractContextManager[None]:
        """Give each progress that the block reports its place in the run."""
        return log.placed(self.place)

    def plan_group(self, group: str, do: Callable[..., object], each: Sequence[tuple[object, ...]]) -> None:
        """Replace the planned stages of a group by those that there really are."""
        if self.plan_work is None or group not in {_group(name) for name in self.planned}:
            return
        members = {f"{group}/{i}": self.plan_work(do, args) for i, args in enumerate(each)}
        names = list(self.planned)
        at = next(i for i, name in enumerate(names) if _group(name) == group)
        others = {name: work for name, work in self.planned.items() if _group(name) != group}
        before = {name: others[name] for name in names[:at]}
        self.planned = {**before, **members, **others}

    def largest_first(self, group: str, size: int) -> list[int]:
        """Return the numbers of the stages of a group, those with the most work first; equal ones keep their order."""
        return sorted(range(size), key=lambda i: -self.planned.get(f"{group}/{i}", Work(0.0)).images)

    def begin(self, stage: str) -> None:
        """Note that a stage begins."""
        self.planned.setdefault(stage, Work(0.0, stage))
        self.stage, self.begun, self.share, self.first, self.looked = stage, self.clock(), 0.0, None, None
        log.progress(stage, 0, 1, "stages")

    def finish(self, stage: str, seconds: float | None = None) -> None:
        """Note that a stage is done; `seconds` is the time that it took, if this says anything about the speed of others."""
        self.done.add(stage)
        work = self.planned.get(stage)
        if work is not None and work.images and seconds is not None:
            self.measured.append(Measured(stage, work, seconds))
        if stage == self.stage:
            self.share, self.looked = 1.0, None
            log.progress(stage, 1, 1, "stages")
            self.stage = ""

    def place(self, progress: log.Progress) -> log.Progress:
        """Return the progress with its place in the run."""
        if not self.stage:
            return progress
        now = self.clock()
        if progress.what == self.stage and progress.unit == "steps":
            self.share = progress.done / progress.total
            self.first = self.first or (now, self.share)
        if self.looked is None or now - self.looked[0] >= LOOK or progress.done >= progress.total:
            number = list(self.planned).index(self.stage) + 1
            run = log.RunProgress(self.stage, number, len(self.planned), self._run_share(), self.seconds_left())
            self.looked = now, run
        return replace(progress, run=self.looked[1])

    def seconds_left(self) -> float | None:
        """Return the seconds until the chosen stages are done; None as long as nothing was measured."""
        waiting = [name for name in self.planned if self.chosen(name) and name not in {*self.done, self.stage}]
        each = [self._seconds(name) for name in waiting] + ([self._stage_left()] if self._is_running() else [])
        known = [seconds for seconds in each if seconds is not None]
        return sum(known) if len(known) == len(each) else None

    def _is_running(self) -> bool:
        return bool(self.stage) and self.stage not in self.done

    def _stage_left(self) -> float | None:
        """The seconds that the running stage still takes: by its own steps, or by the work that was planned."""
        now = self._running_measure()
        if now is not None:
            return now.seconds / now.work.images * self.planned[self.stage].images * (1 - self.share)
        planned = self._seconds(self.stage)
        if planned is None:
            return None
        spent = self.clock() - (self.first[0] if self.first else self.begun)
        return max(0.0, planned * (1 - self.share) - spent)

    def _seconds(self, stage: str) -> float | None:
        """The seconds of a whole stage, at the measured speed of its group, else of its kind, else of everything."""
        work = self.planned[stage]
        if work.images == 0:
            return 0.0
        running = self._running_measure()
        measured = [*self.measured, *([running] if running else [])]
        for same in (
            [m for m in measured if _group(m.stage) == _group(stage)],
            [m for m in measured if m.work.kind == work.kind],
            measured,
        ):
            if images := sum(m.work.images for m in same):
                return work.images * sum(m.seconds for m in same) / images
        return None

    def _running_measure(self) -> Measured | None:
        """The work of the running stage since its first report; None before there was any."""
        if self.first is None or self.share <= self.first[1]:
            return None
        work = self.planned[self.stage]
        images = work.images * (self.share - self.first[1])
        return Measured(self.stage, replace(work, images=images), self.clock() - self.first[0]) if images else None

    def _run_share(self) -> float:
        work = {name: work.images for name, work in self.planned.items() if self.chosen(name)}
        shares = {name: 1.0 if name in self.done else 0.0 for name in work} | {self.stage: self.share}
        total = sum(work.values())
        return sum(work.get(name, 0.0) * share for name, share in shares.items()) / total if total else 0.0


def _group(stage: str) -> str:
    return stage.split("/")[0]
