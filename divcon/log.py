"""The library's log, under the name "divcon", and its progress. The library never prints.

A program that shows a progress bar, as the command line does, sets `divcon.log.watch` to a function of a Progress.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("divcon")
info = logger.info
warning = logger.warning


@dataclass(frozen=True)
class Progress:
    """The progress of one piece of work: `done` of `total` units. `note` is a text to show beside the bar."""

    what: str
    done: int
    total: int
    unit: str = "images"
    note: str = ""


def ignore_progress(progress: Progress) -> None:
    """Do nothing: the value of `watch` until a program sets another."""


watch: Callable[[Progress], None] = ignore_progress


def progress(what: str, done: int, total: int, unit: str = "images", note: str = "") -> None:
    """Report progress to `watch`."""
    watch(Progress(what, done, total, unit, note))
