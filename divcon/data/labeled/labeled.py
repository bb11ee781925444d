"""Labeled images, for scores and for pipelines that train with labels on purpose; no other method reads labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import DataError, UsageError
from ...files.text import counted, printable
from ..images import Images, Positions, open_images
from ..sources.names import without_surrogates
from .assignment import ClassAssignment, VisibleFiles, assign_classes
from .assignment_warnings import similar_names, warn_of_left_out
from .layout import IMAGE_FOLDERS, Layout, Split, find_layout
from .layout_errors import enumerated_names
from .scored import Scored


class NoClassesError(DataError):
    """The subfolders of a folder are fewer than two classes."""


@dataclass(frozen=True, kw_only=True)
class Labeled(Scored):
    """A collection with a class for each image: `labels` [n] index `classes`.

    `left_out` counts the files without a class and the images without a certain one.
    """

    truth = "classes"

    def subset(self, positions: Positions) -> "Labeled":
        """Return the images at `positions` [n] with their labels."""
        return Labeled(images=self.images.subset(positions), labels=self.labels[positions], classes=self.classes)


def open_labeled(
    folder: str | Path,
    *,
    split: Split = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    cache: Path,
    workers: int | None = None,
) -> Labeled:
    """Return the images of a folder whose subfolders are the classes; train/ and test/ (or val/) above them are splits.

    A file has a class by each of its names, copies too. An image of several classes is left out; one in both splits is
    only tested on; hidden names are ignored. UsageError or DataError says what to type where the layout is unclear.
    """
    images = open_images(folder, include=include, exclude=exclude, cache=cache, workers=workers)
    if images.source.unlabeled:
        raise UsageError(f"{printable(images.source.root)}: {images.source.unlabeled}")
    root, files = Path(folder), VisibleFiles.of(images).without_wrappers()
    layout = find_layout(root, files.subfolders, split)
    assignment = assign_classes(layout, files)
    warn_of_left_out(assignment, layout, images)
    _refuse_few_classes(root, layout, assignment)
    _refuse_image_folders(root, layout, assignment)
    _refuse_different_classes(root, layout, assignment)
    return _labeled(images, layout, assignment)


def _labeled(images: Images, layout: Layout, assignment: ClassAssignment) -> Labeled:
    certain = assignment.certain
    number = {name: i for i, name in enumerate(assignment.names)}
    labels = np.array([number[min(assignment.classes[position])] for position in certain], np.int64)
    classes = [without_surrogates(name) for name in assignment.names]
    subset = images.subset(np.array(certain, np.int64))
    labeled = Labeled(images=subset, labels=labels, classes=classes, layout=layout, left_out=assignment.left_out)
    if not layout.train:
        return labeled
    is_test = np.array([position in assignment.test for position in certain], bool)
    return replace(labeled, train=np.flatnonzero(~is_test), test=np.flatnonzero(is_test))


def _refuse_few_classes(root: Path, layout: Layout, assignment: ClassAssignment) -> None:
    if len(assignment.names) > 1:
        return
    above = f" below {enumerated_names((*layout.train, *layout.test))}" if layout.train else ""
    raise NoClassesError(
        f"{printable(root)}: {counted(len(assignment.names), 'class')}{above}; a labeled folder has a subfolder for each of at least two "
        f"classes{_other_folder(root, layout, assignment)}"
    )


def _other_folder(root: Path, layout: Layout, assignment: ClassAssignment) -> str:
    """Return the folder that may be meant, or another reading of this one."""
    splits = enumerated_names((*layout.train, *layout.test))
    if layout.train and assignment.names:
        only = enumerated_names(assignment.names)
        return f". All is in {only} there: put the folders of the classes right below {splits}"
    if layout.train:
        return f" right below it. If {splits} are classes themselves, type split=none" if layout.guessed else ""
    if assignment.only_folder is None:
        return ""
    folder, names = assignment.only_folder
    return f". All is in {printable(folder)}/, which holds {enumerated_names(names)}: name {printable(root / folder)}"


def _refuse_image_folders(root: Path, layout: Layout, assignment: ClassAssignment) -> None:
    """Refuse a folder of all images beside one of masks or drawings: they would pass for two classes."""
    found = [name for name in assignment.names if name.casefold() in IMAGE_FOLDERS]
    if not found or not layout.guessed:
        return
    split = f"{layout.train[0]},{layout.test[0]}" if layout.train else "none"
    inner = "" if layout.train else f", or name {printable(root / found[0])} if the classes are in there"
    raise UsageError(
        f"{printable(root)}: {enumerated_names(found)} seems to hold the images of several classes, and "
        f"{enumerated_names({*assignment.names} - {*found})} something else. Type split={printable(split)} if they are classes{inner}"
    )


def _refuse_different_classes(root: Path, layout: Layout, assignment: ClassAssignment) -> None:
    """Refuse splits without a common class: each score would be 0."""
    if not layout.train or not assignment.splits_have_no_common_class:
        return
    train, test = enumerated_names(layout.train), enumerated_names(layout.test)
    name_train = f"Name {printable(root / layout.train[0])}, which will be split 70/30, or type"
    type_split = (
        f"{name_train if len(assignment.train_classes) > 1 else 'Type'} split= with two folders of the same classes"
    )
    raise DataError(
        f"{printable(root)}: no class of {test} ({enumerated_names(assignment.test_classes) or 'none'}) is one of {train} "
        f"({enumerated_names(assignment.train_classes)}), so every score would be 0{similar_names(assignment) or f'. {type_split}'}"
    )
