"""The contract of a logger: a file NAME.py in this folder with `needs` and `open_logger`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class LoggedRun:
    """The run that a logger keeps the numbers of. `id` is the same for each process that works on it, and `resumed` is True for
    all but the first. `options` has each option with its value, by its dotted name. `lines` were logged before."""

    folder: Path
    id: str
    options: Mapping[str, object]
    resumed: bool
    lines: int


class Logger(Protocol):
    """A place that keeps numbers. `space` is the name of a stage; that of one that was done again in another way is another."""

    def log(self, space: str, step: int, values: Mapping[str, float], line: int) -> None:
        """Keep the numbers of a step. Steps of a space rise; `line` rises over all spaces."""

    def summarize(self, space: str, values: Mapping[str, float]) -> None:
        """Keep the final numbers of a space."""

    def close(self) -> None:
        """Write everything to the disk."""


class LoggerFile(Protocol):
    """A module of this folder that defines a logger. `needs` are the modules that it imports."""

    needs: tuple[str, ...]

    def open_logger(self, run: LoggedRun) -> Logger: ...
