"""Images with a value for each pixel: its class, or its depth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64, Shaped
from PIL import Image, UnidentifiedImageError

from ...errors import DataError
from ...files.integrity import digest, sha256
from ...files.text import printable
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


def read_values(file: Path, modes: tuple[str, ...], kind: str, wanted: str) -> Shaped[np.ndarray, "h w"]:
    """Return the value of each pixel of an image in one of these modes of Pillow. Raises DataError for any other file; it says
    that this is no `kind`, and what is `wanted`."""
    try:
        with Image.open(file) as image:
            if image.mode not in modes:
                raise DataError(f"{printable(file)} is no {kind}: it has {image.mode} pixels, and {wanted}")
            return np.array(image)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise DataError(f"{printable(file)} can't be read ({printable(str(error))}); put a copy there") from error
