"""The contract of what a stage makes."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    pass


class Artifact(Protocol):
    """What a stage returns: it can be put in a folder and read back, and its fingerprint tells it from others."""

    @property
    def fingerprint(self) -> str: ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...
