"""What the library has to say. It never prints: it logs under "divcon", and tells `watch` how far it is.

A program that wants a progress bar (our command line does) sets `divcon.log.watch`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("divcon")
info = logger.info
warning = logger.warning


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is: `done` of `total`, in `unit`s; `note` is worth showing beside the bar."""

    what: str
    done: int
    total: int
    unit: str = "images"
    note: str = ""


def ignore_progress(tick: Progress) -> None:
    """The watcher while no one watches."""


watch: Callable[[Progress], None] = ignore_progress


def progress(what: str, done: int, total: int, unit: str = "images", note: str = "") -> None:
    watch(Progress(what, done, total, unit, note))
