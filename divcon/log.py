"""What the library has to say. It never prints: it logs under "divcon", and tells `watch` how far it is.

A program that wants a progress bar (our command line does) sets `divcon.log.watch`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("divcon")
say = logger.info
warn = logger.warning


@dataclass(frozen=True)
class Tick:
    """How far a piece of work is: `done` of `total`, in `unit`s; `note` is worth showing beside the bar."""

    what: str
    done: int
    total: int
    unit: str = "images"
    note: str = ""


def nobody(tick: Tick) -> None:
    """The watcher while no one watches."""


watch: Callable[[Tick], None] = nobody


def tick(what: str, done: int, total: int, unit: str = "images", note: str = "") -> None:
    watch(Tick(what, done, total, unit, note))
