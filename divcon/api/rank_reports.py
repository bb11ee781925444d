"""The log, the progress and the numbers of ranks, sent to the process that has started them, through a pipe for each rank."""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from .. import dist, log
from ..ranks import place

PIPE = "reports-{}"
END = "\n"


@contextlib.contextmanager
def shown_here(folder: Path, ranks: int) -> Iterator[None]:
    """Log, and report as progress, what the ranks report while the block runs."""
    pipes = [folder / PIPE.format(rank) for rank in range(ranks)]
    for pipe in pipes:
        os.mkfifo(pipe)
    opened = [os.open(pipe, os.O_RDWR) for pipe in pipes]  # for reading and writing: else it would wait for a rank
    threads = [threading.Thread(target=_show, args=(end,), daemon=True) for end in opened]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for end in opened:
            os.write(end, 2 * END.encode())  # a rank that was killed leaves half a line
        for thread in threads:
            thread.join()
        for end in opened:
            os.close(end)


def _show(pipe: int) -> None:
    """Show each report of a rank, until an empty line."""
    with os.fdopen(os.dup(pipe), encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line == END:
                return
            with contextlib.suppress(
                Exception
            ):  # half a line, or nobody who listens: the rank must not wait for a full pipe
                _show_report(*json.loads(line))


def _show_report(kind: str, content: Any) -> None:
    if kind == "log":
        level, message = content
        log.logger.log(level, "%s", message)
    elif kind == "progress":
        run = content.pop("run")
        log.watch(log.Progress(**content, run=log.RunProgress(**run) if run else None))
    else:
        log.keep(log.Record(**content))


@contextlib.contextmanager
def reporting_to(folder: Path) -> Iterator[None]:
    """Send what this rank reports to the process that has started it, as far as this rank leads the others."""
    at = place()
    assert at is not None
    with (folder / PIPE.format(at.rank)).open("w", encoding="utf-8", buffering=1) as pipe:
        sender = _Sender(pipe)
        log.logger.addHandler(sender)
        log.logger.setLevel(logging.INFO)
        log.keep = lambda record: sender.send("record", asdict(record))
        if at.rank == 0:
            log.watch = lambda progress: sender.send("progress", asdict(progress))
        try:
            yield
        finally:
            log.logger.removeHandler(sender)
            log.keep, log.watch = log.ignore_record, log.ignore_progress


class _Sender(logging.Handler):
    """Writes reports to a pipe, each as one line of JSON."""

    def __init__(self, pipe: TextIO):
        super().__init__()
        self.pipe, self.writing = pipe, threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        self.send("log", [record.levelno, record.getMessage()])

    def send(self, kind: str, content: object) -> None:
        if dist.is_leader():
            with self.writing:
                self.pipe.write(json.dumps([kind, content]) + "\n")
