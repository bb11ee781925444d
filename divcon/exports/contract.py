"""The contract of a format: the functions of each file in divcon/exports/formats."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ..nets.trained import Trained

Encode = Callable[[Tensor], Tensor]  # pixels, uint8 [n, 3, size, size] in RGB -> features [n, d]


class Format(Protocol):
    """A format of another library.

    `packages` are those that write and load it, as pip names them. `library` is the name of the library on a model card.
    `tolerance` is the largest difference of raw features that an export may have (`compare.difference`).
    """

    packages: tuple[str, ...]
    library: str
    tolerance: float

    def misfit(self, model: Trained) -> str | None:
        """Return the reason why the format can't hold this encoder, or None if it can."""

    def holds_whitening(self, model: Trained) -> bool:
        """Return True if the files can end in the whitening of this encoder, as a last linear layer."""

    def write(self, model: Trained, folder: Path) -> None:
        """Write the files of the export into an empty folder; with the whitening, if the model has one."""

    def load(self, folder: Path) -> Encode:
        """Load the export by its library, with its whitening; the pixels are normalized as the files of the export say."""

    def usage(self, model: Trained) -> dict[str, str]:
        """Return programs by the name of what they need. Each loads the export in the current folder, and encodes picture.jpg
        as `features` [1, d]."""

    def notes(self, model: Trained) -> str:
        """Return what a model card says about the preprocessing of the export, in Markdown."""
