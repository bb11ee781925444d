"""The library's log, under the name "divcon", its progress, and its numbers. The library never prints.

A program that shows progress, as the command line does, sets `divcon.log.watch` to a function of a Progress. A program that
keeps the numbers of trainings sets `divcon.log.keep` to a function of a Record.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

logger = logging.getLogger("divcon")
info = logger.info
warning = logger.warning


@dataclass(frozen=True)
class RunProgress:
    """The progress of a whole run: the stage, its number among all `stages`, the share (0..1) of the planned work that is done,
    and the seconds that are left, or None where no speed is known yet."""

    stage: str
    number: int
    stages: int
    share: float
    seconds_left: float | None


@dataclass(frozen=True)
class Progress:
    """The progress of one piece of work: `done` of `total` units. `note` is a text to show beside the bar.

    A training gives its rates, too: `data_wait` is the share (0..1) of the time spent on waiting for images. `run` is the
    progress of the run that the work is a part of, if it is part of one.
    """

    what: str
    done: int
    total: int
    unit: str = "images"
    note: str = ""
    images_per_second: float | None = None
    data_wait: float | None = None
    loss: float | None = None
    run: RunProgress | None = None


Begin = Callable[[str], None]  # notes that a step of a work begins, by the step's name


@dataclass(frozen=True)
class Record:
    """Numbers of a stage: those of a logged step, or, where `step` is None, the summary of the finished stage.

    `key` stands for what the stage was asked for: a stage that is done again in another way has another key."""

    stage: str
    step: int | None
    values: Mapping[str, object]
    key: str = ""


def ignore_progress(progress: Progress) -> None:
    """Do nothing: the value of `watch` until a program sets another."""


def ignore_record(record: Record) -> None:
    """Do nothing: the value of `keep` until a program sets another."""


def unchanged(progress: Progress) -> Progress:
    """Return the progress: the value of `place` outside of a run."""
    return progress


watch: Callable[[Progress], None] = ignore_progress
keep: Callable[[Record], None] = ignore_record
place: Callable[[Progress], Progress] = unchanged  # finds the place of a piece of work in a longer one


def progress(
    what: str,
    done: int,
    total: int,
    unit: str = "images",
    note: str = "",
    *,
    images_per_second: float | None = None,
    data_wait: float | None = None,
    loss: float | None = None,
) -> None:
    """Report progress to `watch`."""
    watch(place(Progress(what, done, total, unit, note, images_per_second, data_wait, loss)))


def record(stage: str, step: int | None, values: Mapping[str, object], key: str = "") -> None:
    """Report numbers of a stage to `keep`."""
    keep(Record(stage, step, values, key))


@contextlib.contextmanager
def placed(by: Callable[[Progress], Progress]) -> Iterator[None]:
    """Apply the function `by` to each progress that the block reports, before those of outer blocks."""
    global place
    outer = place
    place = lambda progress: outer(by(progress))  # noqa: E731
    try:
        yield
    finally:
        place = outer


@contextlib.contextmanager
def in_steps(what: str, begins: Mapping[str, int]) -> Iterator[Begin]:
    """Report the block as one work, in percent, which never go backwards; yield a function that begins a step by its name.

    `begins` has the steps in order, and the percent at which each begins: the first begins with the block. What the block
    reports moves the percent within its step.
    """
    reached, step, first, end = 0, "", 0, 100

    def within(progress: Progress) -> Progress:
        nonlocal reached
        share = min(1.0, progress.done / progress.total) if progress.total else 0.0
        reached = max(reached, first + int(share * (end - first - 1)))
        return Progress(what, reached, 100, "%", step)

    def begin(name: str) -> None:
        """Begin a step."""
        nonlocal step, first, end
        step, first = name, begins[name]
        end = min((percent for percent in begins.values() if percent > first), default=100)
        progress(name, 0, 1)

    try:
        with placed(within):
            begin(next(iter(begins)))
            yield begin
    finally:
        progress(what, 100, 100, "%")


def share_of(part: int, parts: int) -> contextlib.AbstractContextManager[None]:
    """Count the units of the block as those of one of several equal parts of a work."""
    return placed(lambda seen: replace(seen, done=part * seen.total + seen.done, total=parts * seen.total))


def part_of(first: int, total: int) -> contextlib.AbstractContextManager[None]:
    """Count the units of the block as the units from `first` on of `total`: a long work is done in parts."""
    return placed(lambda progress: replace(progress, done=first + progress.done, total=total))
