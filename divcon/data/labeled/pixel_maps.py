"""Images with a value for each pixel: its class, or its depth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64

from ...files.integrity import digest, sha256
from ..images import Images
from .layout import Layout


@dataclass(frozen=True)
class PixelMaps:
    """A collection with a file of a value for each pixel for each image.

    `kind` says what the values are; `classes` are numbers as text, where they are classes. `train` and `test` are positions.
    `left_out` counts what is not used.
    """

    kind: Literal["masks", "depths"]
    images: Images
    files: tuple[Path, ...]
    classes: list[str]
    train: Int64[np.ndarray, "a"]
    test: Int64[np.ndarray, "b"]
    layout: Layout = field(default_factory=Layout)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> Int64[np.ndarray, "n 0"]:
        """No class of whole images."""
        return np.zeros((len(self.images), 0), np.int64)

    @property
    def fingerprint(self) -> str:
        """The digest of the images and of their files."""
        return digest(f"{self.images.fingerprint} {' '.join(map(sha256, self.files))}")
