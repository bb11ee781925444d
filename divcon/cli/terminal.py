"""The terminal: the log and the progress on stderr, answers on stdout."""

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from .. import log
from ..files.text import printable, printable_lines
from ..ranks import place
from .progress import ProgressBar, ProgressLines, can_draw, seconds_between_lines

if TYPE_CHECKING:
    from ..answers import Answer

SHARDS = 8  # named in a line
BROKEN_PIPE = 141  # the exit code that a shell gives to a process which SIGPIPE ended


@contextlib.contextmanager
def show_log() -> Iterator[None]:
    """Show the library's log and its progress on stderr while the block runs: a bar on a terminal, else lines.

    Of the ranks that a launcher has started, the first one shows them; of another one, what only it could say is shown.
    """
    bar = ProgressBar() if can_draw() and not is_silent() else None
    handler = OtherRankHandler() if is_silent() else LineHandler(bar)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # the scan has reported the faults of pictures
    log.logger.addHandler(handler)
    log.logger.setLevel(logging.INFO)
    if not is_silent():
        log.watch = bar or ProgressLines(log.info, seconds_between_lines())
    try:
        yield
    finally:
        log.logger.removeHandler(handler)
        log.watch = log.ignore_progress
        handler.close()


def is_silent() -> bool:
    """True for a rank that is not the first one: what it could say, the first one says."""
    at = place()
    return at is not None and at.rank > 0


class LineHandler(logging.Handler):
    """Write each log record as one line with printable characters only, above the bar if there is one."""

    def __init__(self, bar: ProgressBar | None, prefix: str = ""):
        super().__init__()
        self.bar, self.prefix = bar, prefix

    def emit(self, record: logging.LogRecord) -> None:
        level = "warning: " if record.levelno >= logging.WARNING else ""
        line = printable(f"{self.prefix}{level}{record.getMessage()}")
        with contextlib.suppress(OSError):  # a log on a full disk is no reason to stop
            if self.bar:
                self.bar.print(line)
            else:
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
        super().close()


class OtherRankHandler(LineHandler):
    """Writes what the first rank can't say: all that a rank says while it leads others, as a group that trains an expert, and
    the warnings of the first rank of another host, which may be about its cache or its disk."""

    def __init__(self) -> None:
        at = place()
        assert at is not None
        super().__init__(None, f"rank {at.rank}: ")
        self.speaks_for_host = at.local_rank == 0

    def emit(self, record: logging.LogRecord) -> None:
        from ..dist import is_leader  # here, because it loads torch

        if is_leader() or (self.speaks_for_host and record.levelno >= logging.WARNING):
            super().emit(record)


def print_answer(answer: "Answer | Mapping[str, object]", as_json: bool, text: str) -> None:
    """Print the answer of a verb on stdout, as one JSON object or as text; exit quietly if the reader has gone."""
    if is_silent():
        return
    if isinstance(log.watch, ProgressBar):
        log.watch.stop()
    try:
        typer.echo(json.dumps(_json(answer)) if as_json else _encodable(printable_lines(text)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python writes the rest at exit, and fails again
        sys.exit(BROKEN_PIPE)


def _encodable(text: str) -> str:
    """Return the text with escapes for letters that the encoding of stdout lacks: a name with one is no reason to fail."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _json(answer: "Answer | Mapping[str, object]") -> Mapping[str, object]:
    return answer if isinstance(answer, Mapping) else answer.as_json()


def others_in_words(waiting_for: Sequence[str]) -> str:
    """Return the shards that are not finished; the first ones of many."""
    return ", ".join(waiting_for[:SHARDS]) + (" ..." if len(waiting_for) > SHARDS else "")


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
