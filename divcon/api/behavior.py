"""Options that say how a command behaves: they change no bit of a result."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat

from ..config import Gigabytes, Workers, option_names, validate_fields
from ..loggers.registry import names_in


@dataclass(frozen=True, kw_only=True)
class Behavior:
    """The cache and its largest size in gigabytes; the threads that decode and make views; the seconds between checkpoints;
    `keep_memory` lets the C library keep memory that was freed; `report` writes a report when a run is done. `log` names the
    loggers that get the numbers of a run."""

    cache: Path | None = None
    cache_gb: Gigabytes = 8.0
    workers: Workers | None = None
    save_every: NonNegativeFloat = 30.0
    keep_memory: bool = True
    report: bool | None = None
    log: str | tuple[str, ...] = ()

    @property
    def loggers(self) -> list[str]:
        """The names of the loggers. Raises UsageError for an unknown one, and InputError for one that is not installed."""
        return names_in(self.log)


REPORT = "DIVCON_REPORT"  # the variable that switches reports off where report= is not typed
BEHAVIOR = set(option_names(Behavior))


def behavior_of(options: Mapping[str, Any]) -> Behavior:
    """The behavior that is among the options, checked."""
    return validate_fields(Behavior, {key: value for key, value in options.items() if key in BEHAVIOR})


def recipe_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are kept in run.json: all but behavior, and but ranks=auto, which the command line adds."""
    return {key: value for key, value in options.items() if key not in BEHAVIOR and (key, value) != ("ranks", "auto")}


def wants_report(behavior: Behavior) -> bool:
    """True if a report is to be written when a run is done: by report=, else unless DIVCON_REPORT is 0."""
    return os.environ.get(REPORT) != "0" if behavior.report is None else behavior.report
