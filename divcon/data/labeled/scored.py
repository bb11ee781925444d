"""Images that encoders are scored on, with what is true of them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int64

from ...errors import UsageError
from ...files.integrity import digest, sha256
from ..images import Images
from .layout import Layout, Split

# an image has one class, a set of classes, a class or a depth for each pixel, or boxes; or nothing is known of it
Truth = Literal["classes", "sets", "masks", "depths", "boxes", "none"]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A collection that encoders are scored on; its kinds say what `truth` is known of an image.

    `labels` index `classes`; they are empty where whole images have no class. `files` hold the truth of each image, or of all,
    where it lies in files of its own. `train` and `test` are positions, where the folder has such parts. `left_out` counts what
    is not used.
    """

    truth: ClassVar[Truth]
    images: Images
    labels: Int64[np.ndarray, "n *classes"] = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    train: Int64[np.ndarray, "a"] | None = None
    test: Int64[np.ndarray, "b"] | None = None
    layout: Layout = field(default_factory=Layout)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The digest of the images and of their truth."""
        labels = hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()
        return digest(f"{self.images.fingerprint} {' '.join(map(sha256, self.files)) or labels}")


def two_parts(
    split: Split, usual: Iterable[tuple[str, str]], is_there: Callable[[str], bool], advice: str
) -> tuple[str, str]:
    """Return the names of the part to train on and of the part to test on: those of split=, or the first usual pair that is
    there. Raises UsageError with the advice if there is none."""
    typed = split.split(",") if isinstance(split, str) else list(split or ())
    pairs = usual if split in ("auto", "none", None) else [tuple(typed)]
    for pair in pairs:
        if len(pair) == len(set(pair)) == 2 and all(part and is_there(part) for part in pair):
            return pair[0], pair[1]
    raise UsageError(advice)
