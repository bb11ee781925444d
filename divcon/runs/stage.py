"""The contract of a stage: a plain function (context, *artifacts, recipe) -> Result(artifact, summary)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from ..machine import Machine


class Artifact(Protocol):
    """The product of a stage: it can be saved to a folder and loaded again, and its fingerprint tells it from others."""

    @property
    def fingerprint(self) -> str: ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...


A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True)
class Summary:
    """The numbers that a stage found out, in a subclass. They are kept in stage.json, and no later stage reads them."""

    def in_words(self) -> str:
        """The summary for the log; empty where a person does not need it."""
        return ""


@dataclass(frozen=True)
class Result(Generic[A]):
    """The artifact and the summary that a stage returns."""

    artifact: A
    summary: Summary = Summary()


D = TypeVar("D", bound=Callable[..., Result[Any]])
_by_leader: set[Callable[..., Any]] = set()


def by_leader(do: D) -> D:
    """Declare a stage that one rank does alone, while the others wait: it is short, or not made for several."""
    _by_leader.add(do)
    return do


def is_by_leader(do: Callable[..., Any]) -> bool:
    return do in _by_leader


def nothing() -> None:
    """Do nothing: a stage that no run has begun has no owner and no state."""


@dataclass(frozen=True)
class StageContext:
    """The folder, the machine and the cache that a stage works with.

    `save_every` is in seconds. `key_digest` stands for what the stage was asked for: it is kept with each checkpoint.
    `check_owner` raises OwnedError if the folder was taken over; it is called before anything is kept. `write_state` keeps
    state.json true; it is called with every checkpoint, so that a kill loses no account of the time before it.
    """

    folder: Path
    name: str
    machine: Machine
    cache: Path
    cache_gb: float = 8.0
    save_every: float = 30.0
    allow_collapse: bool = False
    key_digest: str = ""
    check_owner: Callable[[], None] = nothing
    write_state: Callable[[], None] = nothing
