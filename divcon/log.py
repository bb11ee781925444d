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


def part_of(first: int, total: int) -> contextlib.AbstractContextManager[None]:
    """Count the units of the block as the units from `first` on of `total`: a long work is done in parts."""
    return placed(lambda progress: replace(progress, done=first + progress.done, total=total))
