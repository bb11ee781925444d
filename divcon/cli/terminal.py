"""What is shown while something runs: a line for each thing worth knowing, and on a terminal a bar. All on stderr."""

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import typer

from .. import log
from ..files.text import printable, printable_lines

CLOSED = 141  # as of a process that a closed pipe ended


@contextlib.contextmanager
def show_log() -> Iterator[None]:
    """The library's log on stderr, and its progress as a bar where there is a terminal."""
    handler = _Lines()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with a picture was said at the scan
    log.logger.addHandler(handler)
    log.logger.setLevel(logging.INFO)
    if sys.stderr.isatty():
        log.watch = _Bar(handler)
    try:
        yield
    finally:
        log.logger.removeHandler(handler)
        log.watch = log.ignore_progress
        handler.close()


class _Lines(logging.Handler):
    """Each record a line, safe to show on any terminal."""

    bar: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        line = printable(f"{mark}{record.getMessage()}")
        if self.bar:
            self.bar.console.print(line, markup=False, highlight=False)
        else:
            with contextlib.suppress(OSError):  # a log on a full disk is no reason to stop
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
        super().close()


class _Bar:
    """The watcher that draws a bar: one piece of work at a time."""

    def __init__(self, lines: _Lines):
        self.lines, self.what = lines, ""
        self.task: Any = None

    def __call__(self, tick: log.Progress) -> None:
        if self.lines.bar is None:
            self.lines.bar = _progress()
            self.lines.bar.start()
        bar = self.lines.bar
        if tick.what != self.what:
            if self.task is not None:
                bar.remove_task(self.task)
            self.what, self.task = tick.what, bar.add_task(printable(tick.what), total=tick.total, note="")
        bar.update(self.task, completed=tick.done, total=tick.total, note=tick.note)
        if tick.done >= tick.total:
            bar.remove_task(self.task)
            self.what, self.task = "", None


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)


def print_answer(value: Any, as_json: bool, text: str) -> None:
    """The answer, on stdout: one JSON object, or words. Who has stopped reading it wants no more."""
    try:
        typer.echo(json.dumps(value) if as_json else printable_lines(text))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(CLOSED)


def open_streams() -> None:
    """What a shell has closed (2>&-) leads nowhere, rather than into the next file that is opened."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(handle, "r" if number == 0 else "w"))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns that line up."""
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def print_names(about: dict[str, str], as_json: bool) -> None:
    """The answer that lists names, each with a line about it."""
    print_answer(about, as_json, table(["name", "about"], [[name, line] for name, line in about.items()]))
