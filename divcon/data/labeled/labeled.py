"""Labels, for scores and for what is trained with labels on purpose: no other method comes near them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ...errors import DataError, UsageError
from ...files.integrity import digest
from ...files.text import printable
from ..images import Images, Positions, open_images
from ..sources.names import printed
from ..sources.tar_shards import Shards
from .filing import Filing, file_by, filed
from .layout import HOLDERS, Layout, Split, enumerated_names, laid_out


@dataclass(frozen=True)
class Labeled:
    """A collection with a class for each image; `train` and `test` hold positions where the folder names a split.
    `left_out` counts what has no class, or none that is certain."""

    images: Images
    labels: Int64[np.ndarray, "n"]
    classes: list[str]
    train: Int64[np.ndarray, "a"] | None = None
    test: Int64[np.ndarray, "b"] | None = None
    layout: Layout = field(default_factory=Layout)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """A digest of the images and of their labels."""
        labels = hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()
        return digest(f"{self.images.fingerprint} {labels}")

    def part(self, positions: Positions) -> "Labeled":
        """The images at these positions, and their labels."""
        return Labeled(self.images.subset(positions), self.labels[positions], self.classes)


def open_labeled(
    folder: str | Path,
    *,
    split: Split = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    cache: Path,
    workers: int | None = None,
) -> Labeled:
    """Subfolders are the classes, whatever lies below them; train/ and test/ (or val/) above them are the split.

    A file has a class by each of its names, copies too. A picture of two classes is left out, for nobody knows which is
    right; one that is to learn from and to test on is only tested on. Hidden names count for nothing.
    """
    images = open_images(folder, include=include, exclude=exclude, cache=cache, workers=workers)
    if isinstance(images.source, Shards):
        raise UsageError(
            f"{printable(images.source.root)}: a labeled folder is wanted, and these are tar shards: unpack them"
        )
    files = filed(images).seen_through()
    layout = laid_out(Path(folder), files.inside, split)
    filing = file_by(layout, files)
    filing.tell(layout, images)
    _refuse_few(Path(folder), layout, filing)
    _refuse_pictures_as_class(Path(folder), layout, filing)
    _refuse_nothing_learned(Path(folder), layout, filing)
    return _labeled(images, layout, filing)


def _labeled(images: Images, layout: Layout, filing: Filing) -> Labeled:
    kept = np.array(filing.certain, np.int64)
    number = {name: i for i, name in enumerate(filing.names)}
    labels = np.array([number[min(filing.classes[i])] for i in filing.certain], np.int64)
    classes = [printed(name) for name in filing.names]
    if not layout.train:
        return Labeled(images.subset(kept), labels, classes, layout=layout, left_out=filing.left_out)
    tested = np.array([i in filing.tested for i in filing.certain], bool)
    train, test = np.flatnonzero(~tested), np.flatnonzero(tested)
    return Labeled(images.subset(kept), labels, classes, train, test, layout, filing.left_out)


def _refuse_few(root: Path, layout: Layout, filing: Filing) -> None:
    if len(filing.names) > 1:
        return
    above = f" below {enumerated_names((*layout.train, *layout.test))}" if layout.train else ""
    raise DataError(
        f"{printable(root)}: {len(filing.names)} classes{above}; a labeled folder has a subfolder for each of at least two "
        f"classes{_advice(root, layout, filing)}"
    )


def _advice(root: Path, layout: Layout, filing: Filing) -> str:
    """The folder that may have been meant, or another reading of this one."""
    parts = enumerated_names((*layout.train, *layout.test))
    if layout.train and filing.names:
        return f". All is in {enumerated_names(filing.names)} there: put the folders of the classes right below {parts}"
    if layout.train:
        return f" right below it. If {parts} are classes themselves, type split=none" if layout.guessed else ""
    if filing.deeper is None:
        return ""
    folder, names = filing.deeper
    return f". All is in {printable(folder)}/, which holds {enumerated_names(names)}: name {printable(root / folder)}"


def _refuse_pictures_as_class(root: Path, layout: Layout, filing: Filing) -> None:
    """A folder of images beside one of masks or of drawings: they would pass for two classes."""
    odd = [name for name in filing.names if name.casefold() in HOLDERS]
    if not odd or not layout.guessed:
        return
    split = f"{layout.train[0]},{layout.test[0]}" if layout.train else "none"
    inner = "" if layout.train else f", or name {printable(root / odd[0])} if the classes are in there"
    raise UsageError(
        f"{printable(root)}: {enumerated_names(odd)} seems to hold the pictures of several classes, and {enumerated_names({*filing.names} - {*odd})} "
        f"something else. Type split={printable(split)} if they are classes{inner}"
    )


def _refuse_nothing_learned(root: Path, layout: Layout, filing: Filing) -> None:
    """Where no class that is tested was learned, each score would be 0."""
    if not layout.train or not filing.nothing_learned:
        return
    learned, tested = filing.learned_classes, filing.tested_classes
    alone = (
        f"Name {printable(root / layout.train[0])}, which will be split 70/30, or type" if len(learned) > 1 else "Type"
    )
    advice = filing.near_names() or f". {alone} split= with two folders of the same classes"
    raise DataError(
        f"{printable(root)}: no class of {enumerated_names(layout.test)} ({enumerated_names(tested) or 'none'}) is one of {enumerated_names(layout.train)} "
        f"({enumerated_names(learned)}), so all would be told wrong{advice}"
    )
