"""The progress of a command on stderr: one bar on a terminal, a line from time to time elsewhere."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..files.text import printable
from ..log import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

EVERY = 30.0  # seconds between two lines
VARIABLE = "DIVCON_PROGRESS_SECONDS"  # of the environment: another number of seconds
DRAWN = 0.1  # seconds between two looks at the progress: a training may report thousands of steps a second
NARROWEST = 8  # columns of the bar
GAP = "  "


def can_draw() -> bool:
    """Return True if stderr is a terminal that can draw a line again."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def seconds_between_lines() -> float:
    """Return the seconds between two lines of progress, from the environment if it has a number."""
    try:
        return max(0.0, float(os.environ.get(VARIABLE, EVERY)))
    except ValueError:
        return EVERY


class ProgressLines:
    """Writes a line every `every` seconds: the value of `divcon.log.watch` where no bar can be drawn."""

    def __init__(self, write: Callable[[str], None], every: float = EVERY, clock: Callable[[], float] = time.monotonic):
        self.write, self.every, self.clock = write, every, clock
        self.last = clock()

    def __call__(self, progress: Progress) -> None:
        now = self.clock()
        if now - self.last >= self.every and progress.unit != "stages":
            self.last = now
            self.write(progress_line(progress))


class ProgressBar:
    """Draws one bar, for the run if the work is a part of one: the value of `divcon.log.watch` on a terminal."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.drawn = clock, -DRAWN
        self.progress: Progress | None = None
        self.live: Live | None = None

    def __call__(self, progress: Progress) -> None:
        if _is_over(progress):
            self.stop()
        elif (now := self.clock()) - self.drawn >= DRAWN or self.live is None:
            self.drawn, self.progress = now, progress
            self._show()

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        from rich.text import Text

        if self.live is not None:
            self.live.console.print(Text(line), soft_wrap=True)  # so that a path can be copied as one word
        else:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def stop(self) -> None:
        """Remove the bar, until there is progress again."""
        if self.live is not None:
            self.live.stop()
        self.live, self.progress = None, None

    def _show(self) -> None:
        if self.live is None:
            self.live = _live(self._bar)
            self.live.start()

    def _bar(self) -> "RenderableType":
        if self.live is None or self.progress is None:
            return ""
        return bar_of(_later(self.progress, self.clock() - self.drawn), self.live.console.width)


def _live(render: "Callable[[], RenderableType]") -> "Live":
    from rich.console import Console
    from rich.live import Live

    # Stdout belongs to the answer: rich would print it on stderr.
    return Live(get_renderable=render, console=Console(stderr=True), transient=True, redirect_stdout=False)


def _later(progress: Progress, seconds: float) -> Progress:
    """The progress some seconds after it was reported: the time that is left runs on."""
    run = progress.run
    if run is None or run.seconds_left is None:
        return progress
    return replace(progress, run=replace(run, seconds_left=max(0.0, run.seconds_left - seconds)))


def _is_over(progress: Progress) -> bool:
    share = progress.run.share if progress.run else None
    return progress.done >= progress.total and share in (None, 1.0)


def progress_line(progress: Progress) -> str:
    """Return the progress as a line of a log."""
    of = f"{progress.done:,} of {progress.total:,}"
    run = progress.run
    is_stage = run is not None and progress.what == run.stage
    done = {"steps": f"step {of}", "%": f"{progress.done}%"}.get(progress.unit, f"{of} {progress.unit}")
    parts = [done if is_stage or run is None else f"{printable(progress.what)} {done}", *_rates(progress)]
    if progress.unit == "%" and progress.note:
        parts.append(progress.note)
    if run and run.seconds_left is not None:
        parts.append(f"about {duration(run.seconds_left)} left in all")
    return f"{_name(progress)}: {', '.join(parts)}"


def bar_of(progress: Progress, width: int) -> "RenderableType":
    """Return the line of the bar, at most `width` columns wide."""
    from rich.progress_bar import ProgressBar as Bar
    from rich.table import Table
    from rich.text import Text

    left, room, right = bar_texts(progress, width)
    grid = Table.grid(padding=0)
    cells: list[RenderableType] = [Text(left, no_wrap=True, overflow="crop")]
    if room:
        cells += [Text(GAP), Bar(total=1.0, completed=share_done(progress), width=room)]
    grid.add_row(*cells, Text(f"{GAP}{right}" if right else "", no_wrap=True))
    return grid


def bar_texts(progress: Progress, width: int) -> tuple[str, int, str]:
    """Return the text on the left of the bar, the columns of the bar (0 for none), and the text on its right."""
    left = _bar_name(progress)[: max(1, width - 1)]
    percent, *more = _bar_fields(progress)
    fields = list[str]()
    for field in [percent, *more]:
        if len(GAP.join([left, *fields, field])) < width:
            fields.append(field)
    room = width - 1 - len(GAP.join([left, *fields])) - len(GAP)
    if room < NARROWEST and len(fields) > len([percent, *more]) - 1:
        fields.pop()  # the loss is worth less than the bar
        room = width - 1 - len(GAP.join([left, *fields])) - len(GAP)
    return left, min(room, 40) if room >= NARROWEST else 0, GAP.join(fields)


def share_done(progress: Progress) -> float:
    """Return the share (0..1) of the whole run that is done, or of the work where it is part of no run."""
    return progress.run.share if progress.run else progress.done / max(1, progress.total)


def _name(progress: Progress) -> str:
    run = progress.run
    return f"{run.stage} ({run.number} of {run.stages})" if run else printable(progress.what)


def _bar_name(progress: Progress) -> str:
    if progress.unit == "%" and progress.note:
        return f"{_name(progress)}: {progress.note}"
    part = progress.run is not None and progress.what != progress.run.stage
    return f"{_name(progress)} {printable(progress.what)}" if part else _name(progress)


def _bar_fields(progress: Progress) -> list[str]:
    """The fields beside the bar, the most important first."""
    left = progress.run.seconds_left if progress.run else None
    speed, waiting, loss = progress.images_per_second, progress.data_wait, progress.loss
    return [
        f"{share_done(progress):4.0%}",
        *([f"{clock_time(left)} left"] if left is not None else []),
        *([f"{speed:,.0f} images/s"] if speed is not None else []),
        *([f"{waiting:.0%} waiting"] if waiting is not None else []),
        *([f"loss {loss:.3f}"] if loss is not None else []),
    ]


def _rates(progress: Progress) -> list[str]:
    if progress.images_per_second is None or progress.data_wait is None:
        return []
    loss = [f"loss {progress.loss:.3f}"] if progress.loss is not None else []
    return [f"{progress.images_per_second:,.0f} images/s", f"{progress.data_wait:.0%} waiting for data", *loss]


def duration(seconds: float) -> str:
    """Return a time in words: 45 s, 12 min, 1 h 12 min, 3 days 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} day{'s' if days > 1 else ''} {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def clock_time(seconds: float) -> str:
    """Return a time as a clock shows it: 0:45, 1:12:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
