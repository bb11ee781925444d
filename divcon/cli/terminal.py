"""The terminal: the log and a progress bar on stderr, answers on stdout."""

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import typer

from .. import log
from ..files.text import printable, printable_lines

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from ..answers import Answer

BROKEN_PIPE = 141  # the exit code that a shell gives to a process which SIGPIPE ended


@contextlib.contextmanager
def show_log() -> Iterator[None]:
    """Show the library's log on stderr while the block runs, and its progress as a bar if stderr is a terminal."""
    handler = LineHandler()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # the scan has reported the faults of pictures
    log.logger.addHandler(handler)
    log.logger.setLevel(logging.INFO)
    if sys.stderr.isatty():
        log.watch = ProgressBar(handler)
    try:
        yield
    finally:
        log.logger.removeHandler(handler)
        log.watch = log.ignore_progress
        handler.close()


class LineHandler(logging.Handler):
    """Write each log record as one line with printable characters only, above the bar if there is one."""

    bar: "Bar | None" = None

    def emit(self, record: logging.LogRecord) -> None:
        level = "warning: " if record.levelno >= logging.WARNING else ""
        line = printable(f"{level}{record.getMessage()}")
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


class ProgressBar:
    """Draw the progress of one piece of work at a time: the value of `divcon.log.watch` on a terminal."""

    def __init__(self, handler: LineHandler):
        self.handler, self.what = handler, ""
        self.task: TaskID | None = None

    def __call__(self, progress: log.Progress) -> None:
        bar = self._started()
        if self.task is None or progress.what != self.what:
            self._remove(bar)
            self.what = progress.what
            self.task = bar.add_task(printable(progress.what), total=progress.total, note="")
        bar.update(self.task, completed=progress.done, total=progress.total, note=progress.note)
        if progress.done >= progress.total:
            self._remove(bar)

    def _started(self) -> "Bar":
        if self.handler.bar is None:
            self.handler.bar = _bar()
            self.handler.bar.start()
        return self.handler.bar

    def _remove(self, bar: "Bar") -> None:
        if self.task is not None:
            bar.remove_task(self.task)
        self.what, self.task = "", None


def _bar() -> "Bar":
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


def print_answer(answer: "Answer | Mapping[str, object]", as_json: bool, text: str) -> None:
    """Print the answer of a verb on stdout, as one JSON object or as text; exit quietly if the reader has gone."""
    try:
        typer.echo(json.dumps(_json(answer)) if as_json else printable_lines(text))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python writes the rest at exit, and fails again
        sys.exit(BROKEN_PIPE)


def _json(answer: "Answer | Mapping[str, object]") -> Mapping[str, object]:
    return answer if isinstance(answer, Mapping) else answer.as_json()


def print_names(about: Mapping[str, str], as_json: bool) -> None:
    """Print names, each with one line about it."""
    print_answer(about, as_json, table(["name", "about"], [[name, line] for name, line in about.items()]))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return the text of a table with aligned columns."""
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
