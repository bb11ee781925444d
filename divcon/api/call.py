"""The arguments of one call of `run` that say what to do now: they are kept in no record."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """The folder of the run; the one stage, or group, to do; and the two permissions of `run`."""

    folder: Path
    only: str | None = None
    steal_lock: bool = False
    allow_collapse: bool = False
