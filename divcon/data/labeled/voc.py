"""Images with a set of classes each, in the layout of PASCAL VOC:

JPEGImages/ID.jpg                        the images
ImageSets/Main/trainval.txt, test.txt    the IDs of a part, one a line
ImageSets/Main/CLASS_trainval.txt        the same with 1 (the class is there), -1 (it is not) or 0 (hard to say)
Annotations/ID.xml                       the objects of an image, which are read where there are no such lists
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Int64

from ...errors import DataError, UsageError, few
from ...files.text import printable
from ..images import Images, open_images
from ..index.files import Files
from ..sources.names import without_surrogates
from .layout import Layout, Split
from .scored import Scored

PICTURES, LISTS, ANNOTATIONS = "JPEGImages", Path("ImageSets", "Main"), "Annotations"
PARTS = (("trainval", "test"), ("train", "val"), ("train", "test"), ("trainval", None), ("train", None))
PRESENT, ABSENT, DIFFICULT = 1, 0, -1
MEANING = {b"1": PRESENT, b"-1": ABSENT, b"0": DIFFICULT}  # of the numbers in the lists
RANK = (PRESENT, DIFFICULT, ABSENT)  # of the labels of copies of an image, the first of these counts

LabelsOf = dict[bytes, dict[str, int]]  # from the ID of an image to the classes that it has, or that are hard to say


@dataclass(frozen=True, kw_only=True)
class LabelSets(Scored):
    """A collection with a set of classes for each image: `labels` [n, classes] is 1 where an image has the class, 0 where it
    has not, and -1 where this is hard to say."""

    truth = "sets"


def is_voc(folder: str | Path) -> bool:
    """Return True for a folder in the layout of PASCAL VOC."""
    return (Path(folder) / PICTURES).is_dir() and (Path(folder) / LISTS.parent).is_dir()


def open_voc(
    folder: str | Path,
    *,
    split: Split = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    cache: Path,
    workers: int | None = None,
) -> LabelSets:
    """Return the images of a folder in the layout of PASCAL VOC, with their sets of classes.

    `split` names two lists of ImageSets/Main, like "train,val"; "auto" takes trainval and test, if both have labels, else train
    and val. An image in both is only tested on. Raises UsageError or DataError that says what is missing.
    """
    root = Path(folder)
    parts = _parts(root, split)
    images = open_images(folder, include=include or f"{PICTURES}/*", exclude=exclude, cache=cache, workers=workers)
    ids = {part: ids_in(_list_file(root, part)) for part in parts}
    labels = {part: _labels_of(root, part, ids[part]) for part in parts}
    return _label_sets(images, ids, labels, root)


def _parts(root: Path, split: Split) -> tuple[str, ...]:
    """Return the names of the lists to train on and to test on, or of the only list."""
    if split in ("auto", "none", None):
        found = next((pair for pair in PARTS if all(_has_labels(root, part) for part in pair if part)), None)
        if found is None:
            raise DataError(
                f"{printable(root)}: no list trainval.txt or train.txt in {LISTS} whose images have labels, in {LISTS} or in "
                f"{ANNOTATIONS}; copy them there"
            )
        return tuple(part for part in found if part)
    names = tuple(split.split(",") if isinstance(split, str) else split or ())
    missing = [name for name in names if not _has_labels(root, name)]
    if len(names) != 2 or names[0] == names[1] or missing:
        raise UsageError(
            f"split={printable(','.join(names))}: type two lists of {printable(root / LISTS)} that have labels, like split=train,val"
        )
    return names


def _list_file(root: Path, part: str) -> Path:
    return root / LISTS / f"{part}.txt"


def _has_labels(root: Path, part: str) -> bool:
    if "/" in part or not _list_file(root, part).is_file():
        return False
    first = ids_in(_list_file(root, part))[:1]
    return bool(_class_lists(root, part)) or any(_annotation(root, name).is_file() for name in first)


def ids_in(file: Path) -> list[bytes]:
    """Return the first word of each line."""
    return [line.split()[0] for line in file.read_bytes().splitlines() if line.strip()]


def _class_lists(root: Path, part: str) -> dict[str, Path]:
    """Return the lists of a part by class, like aeroplane_trainval.txt."""
    ending = f"_{part}.txt"
    files = sorted((root / LISTS).iterdir())
    return {file.name.removesuffix(ending): file for file in files if file.name.endswith(ending)}


def _annotation(root: Path, name: bytes) -> Path:
    return root / ANNOTATIONS / (os.fsdecode(_base_name(name)) + ".xml")


def _labels_of(root: Path, part: str, ids: Iterable[bytes]) -> LabelsOf:
    """Return the labels of the images of a part: of its lists, or else of its annotations."""
    lists = _class_lists(root, part)
    if not lists:
        return {name: _objects(_annotation(root, name)) for name in ids}
    found: LabelsOf = {}
    for name, file in lists.items():
        for image, label in _class_list(file):
            found.setdefault(image, {})[without_surrogates(name)] = label
    return found


def _class_list(file: Path) -> Iterable[tuple[bytes, int]]:
    for line in filter(None, map(bytes.split, file.read_bytes().splitlines())):
        if len(line) != 2 or line[1] not in MEANING:
            shown = printable(b" ".join(line)[:80])
            raise DataError(f"{printable(file)}: {shown!r} is no line of a list: write an ID and 1, -1 or 0")
        yield line[0], MEANING[line[1]]


def _objects(file: Path) -> dict[str, int]:
    """Return the classes of the objects in an annotation: DIFFICULT if all objects of a class are marked so."""
    labels: dict[str, int] = {}
    try:
        objects = ElementTree.parse(file).iter("object")
        for each in objects:
            name, difficult = each.findtext("name", "").strip(), each.findtext("difficult", "0").strip() == "1"
            if name and labels.get(name) != PRESENT:
                labels[name] = DIFFICULT if difficult else PRESENT
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(
            f"{printable(file)} can't be read ({printable(str(error))}); put a copy there, or remove its ID from the lists"
        ) from error
    return labels


def _label_sets(
    images: Images, ids: Mapping[str, Sequence[bytes]], labels: Mapping[str, LabelsOf], root: Path
) -> LabelSets:
    positions = positions_by_id(images)
    found = {part: {positions[name] for name in names if name in positions} for part, names in ids.items()}
    used = np.array(sorted(set[int]().union(*found.values())), np.int64)
    classes = sorted({name for of_part in labels.values() for one in of_part.values() for name in one})
    if not len(used) or not classes:
        missing = few([printable(name) for names in ids.values() for name in names])
        raise DataError(f"{printable(root)}: no image of the lists is in {PICTURES}, or none has a class: {missing}")
    matrix = _matrix(labels, positions, used, classes)
    subset = images.subset(used)
    left_out = {"no_image": sum(name not in positions for names in ids.values() for name in names)}
    sets = LabelSets(images=subset, labels=matrix, classes=classes, left_out=left_out)
    if len(ids) == 1:
        return sets
    train_part, test_part = ids
    is_test = np.isin(used, list(found[test_part]))
    layout = Layout((train_part,), (test_part,))
    left_out = {**left_out, "train_and_test": len(found[train_part] & found[test_part])}
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    return replace(sets, train=train, test=test, layout=layout, left_out=left_out)


def positions_by_id(images: Images) -> dict[bytes, int]:
    """Return the position of the image of each ID; copies of an image have its position."""
    files = Files.of(images.index)
    ids = (_base_name(path).rsplit(b".", 1)[0] for path in files.paths)
    return {name: int(at) for name, at in zip(ids, files.positions)}


def _base_name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _matrix(
    labels: Mapping[str, LabelsOf],
    positions: Mapping[bytes, int],
    used: Int64[np.ndarray, " n"],
    classes: Sequence[str],
) -> Int64[np.ndarray, "n classes"]:
    row, column = ({value: i for i, value in enumerate(values)} for values in (used.tolist(), classes))
    rank = np.full((len(used), len(classes)), RANK.index(ABSENT))
    for of_part in labels.values():
        for name, of_image in of_part.items():
            if positions.get(name) in row:
                for of_class, label in of_image.items():
                    at = row[positions[name]], column[of_class]
                    rank[at] = min(rank[at], RANK.index(label))
    labels_of_ranks = np.array(RANK, np.int64)
    return labels_of_ranks.take(rank)
