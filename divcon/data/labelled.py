"""Labels, for scores and for what is trained with labels on purpose: no other method comes near them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ..artifacts import digest, show
from ..errors import DataError, UsageError
from .images import Images, Positions, open_images
from .shards import Shards


@dataclass(frozen=True)
class Labelled:
    """A collection with a class for each image; `train` and `test` hold positions where the folder names a split."""

    images: Images
    labels: Int64[np.ndarray, "n"]
    classes: list[str]
    train: Int64[np.ndarray, "a"] | None = None
    test: Int64[np.ndarray, "b"] | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of the images and of their labels."""
        labels = hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()
        return digest(f"{self.images.fingerprint} {labels}")

    def part(self, positions: Positions) -> "Labelled":
        """The images at these positions, and their labels."""
        return Labelled(self.images.subset(positions), self.labels[positions], self.classes)


def open_labelled(folder: str | Path, *, cache: Path, threads: int | None = None) -> Labelled:
    """First-level subfolders are the classes, whatever lies below them; `train/` and `test/` above them are the split.

    Images directly in the folder have no class and are left out.
    """
    images = open_images(folder, cache=cache, threads=threads)
    if isinstance(images.source, Shards):
        raise UsageError(
            f"{show(images.source.root)}: a labelled folder is wanted, and these are tar shards: unpack them"
        )
    parts = [name.split(b"/") for name in images.names(np.arange(len(images)))]
    split = {part[0] for part in parts} == {b"train", b"test"}
    depth = 1 if split else 0
    kept = np.array([i for i, part in enumerate(parts) if len(part) > depth + 1], np.int64)
    names = sorted({parts[i][depth] for i in kept})
    if len(names) < 2:
        raise DataError(
            f"{folder}: {len(names)} classes; a labelled folder has a subfolder for each of at least two classes"
        )
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[parts[i][depth]] for i in kept], np.int64)
    classes = [name.decode("utf-8", "backslashreplace") for name in names]
    if not split:
        return Labelled(images.subset(kept), labels, classes)
    in_train = np.array([parts[i][0] == b"train" for i in kept])
    return Labelled(images.subset(kept), labels, classes, np.flatnonzero(in_train), np.flatnonzero(~in_train))
