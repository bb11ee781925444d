"""The layout of a labeled folder: a folder for each class; or splits (train/, val/, test/) with a folder for each class.

Splits are known by their usual names. Where these may be classes as well, UsageError says what to type.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from ...config import unknown_name
from ...errors import UsageError
from ...files.text import printable
from ..sources.names import name_key, nfc, without_surrogates
from .layout_errors import (
    enumerated_names,
    nothing_to_test_on,
    single_split,
    splits_below_classes,
    unclear_names,
    unclear_subfolders,
)
from .split_names import Role, Subfolders, certain_splits, may_be_splits, roles_of

# "auto": by the names. None: each folder is a class. "train,val": train on the first, test on the second.
Split = str | tuple[str, str] | None
UNLABELED = {"unlabeled", "unsup", "unsupervised"}  # never a class, unless split= is typed
EXTRA = {*UNLABELED, "extra"}  # never a class beside splits
IMAGE_FOLDERS = {"images", "imgs", "img", "jpegimages"}  # of all images, beside a folder of their masks


@dataclass(frozen=True)
class Layout:
    """The train and test folders, where there are splits; `left_out` are folders that are neither split nor class.

    `guessed` is true where the names decided. `untestable` is a folder that is called test and has no classes.
    """

    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    guessed: bool = False
    untestable: str | None = None

    @property
    def depth(self) -> int:
        """The number of folders above a class."""
        return 1 if self.train else 0

    def as_dict(self) -> dict[str, list[str]] | None:
        """Return the names of the train, test and left-out folders, or None where there are no splits."""
        if not self.train:
            return None
        sides = {"train": self.train, "test": self.test, "left_out": self.left_out}
        return {side: [without_surrogates(name) for name in sorted(names)] for side, names in sides.items()}

    def class_of(self, folders: Sequence[str]) -> str | None:
        """Return the class of a file by the folders above it, the outermost first; None where it has no class."""
        has_class = len(folders) > self.depth and not self.leaves_out(folders)
        return folders[self.depth] if has_class else None

    def leaves_out(self, folders: Sequence[str]) -> bool:
        """Return true if the names of these folders say that they have no class."""
        unlabeled = self.guessed and any(name.casefold() in UNLABELED for name in folders[: self.depth + 1])
        return unlabeled or any(name in self.left_out for name in folders[:1])


def find_layout(root: Path, subfolders: Subfolders, split: Split) -> Layout:
    """Return the layout that split= asks for; with "auto", the layout that the names of the folders suggest."""
    if split is None or split == "none":
        return Layout()
    return _by_names(root, subfolders) if split == "auto" else _by_option(root, subfolders, split)


def _by_names(root: Path, subfolders: Subfolders) -> Layout:
    roles = roles_of(subfolders)
    splits = certain_splits(roles)
    if splits is None:
        return _without_splits(root, subfolders)
    train, test = splits["train"], _test_folder(subfolders, splits)
    others = {name for name in subfolders if name not in splits.values() and name.casefold() not in EXTRA}
    # If train/ and test/ share fewer than two classes, the folders beside them may be classes: the user decides.
    if others and len(subfolders[train] & subfolders[test]) < 2:
        raise unclear_names(root, subfolders, roles)
    if len(subfolders[train]) > 1 and _has_no_classes(subfolders[test], subfolders[train]):
        raise nothing_to_test_on(root, splits)
    untestable = splits["test"] if splits.get("test", test) != test else None
    return Layout((train,), (test,), frozenset(subfolders) - {train, test}, True, untestable)


def _without_splits(root: Path, subfolders: Subfolders) -> Layout:
    roles = roles_of(subfolders)
    if len(subfolders) == len(roles) == 1:
        raise single_split(root, *subfolders)
    if may_be_splits(roles, len(subfolders)):
        raise unclear_names(root, subfolders, roles)
    _refuse_splits_below_classes(root, subfolders)
    _refuse_common_subfolders(root, subfolders)
    return Layout(guessed=True)


def _test_folder(subfolders: Subfolders, splits: Mapping[Role, str]) -> str:
    """Return test/, or val/ where test/ has no classes: competitions do not publish the labels of test/."""
    names = [splits[role] for role in ("test", "val") if role in splits]
    train = subfolders[splits["train"]]
    with_classes = [name for name in names if not _has_no_classes(subfolders[name], train)]
    return [*with_classes, *names][0] if len(train) > 1 else names[0]


def _has_no_classes(folders: Set[str], train_classes: Set[str]) -> bool:
    """Return True if `folders` is empty, or has one folder that is not a class of train/. Folders like images/ do not count."""
    keys = {name_key(name) for name in folders if name.casefold() not in IMAGE_FOLDERS | EXTRA}
    return len(keys) < 2 and not keys & {name_key(name) for name in train_classes}


def _by_option(root: Path, subfolders: Subfolders, split: str | tuple[str, str]) -> Layout:
    """Return the layout with the two folders that were typed, or several on a side, joined by "+"."""
    sides = split.split(",") if isinstance(split, str) else list(split)
    if len(sides) != 2:
        raise UsageError(
            f"split={printable(str(split))}: type split=none if each folder is a class, or the folder to train on and the folder "
            "to test on, like split=train,val"
        )
    train, test = (_folders_of_side(root, subfolders, side) for side in sides)
    if set(train) & set(test):
        raise UsageError(
            f"split={printable(','.join(sides))}: a folder to train on can't be tested on; name two folders"
        )
    return Layout(train, test, frozenset(subfolders) - {*train, *test})


def _folders_of_side(root: Path, subfolders: Subfolders, side: str) -> tuple[str, ...]:
    side = nfc(side)
    names = [name.rstrip("/") for name in ([side] if side in subfolders else side.split("+"))]
    for name in names:
        if name not in subfolders:
            advice = unknown_name("folder", printable(name), [*subfolders])
            raise UsageError(
                f"split={printable(side)}: {printable(root)} holds {enumerated_names(subfolders)}; {advice}"
            )
    return tuple(names)


def _refuse_splits_below_classes(root: Path, subfolders: Subfolders) -> None:
    """Refuse cat/train, cat/test: to mix them would ignore the folder's own split."""
    if len(subfolders) > 1 and all(certain_splits(roles_of(below)) for below in subfolders.values()):
        first = min(subfolders)
        raise splits_below_classes(root, first, subfolders[first])


def _refuse_common_subfolders(root: Path, subfolders: Subfolders) -> None:
    """Refuse folders whose subfolders mostly have the same names: they may be splits (named in another language), years, folds or
    domains."""
    keys = {name: {name_key(each) for each in below} for name, below in subfolders.items() if below}
    counts = Counter(key for below in keys.values() for key in below)  # the folders that have a subfolder of this name
    common = {key for key, count in counts.items() if 2 * count > len(keys)}
    others = {name for name in subfolders if name not in keys and name.casefold() not in EXTRA}
    if len(keys) < 2 or len(others) >= len(keys) or common & IMAGE_FOLDERS:
        return
    majority = min(len(below) for below in keys.values()) // 2 + 1
    if all(len(below & common) >= max(2, majority) for below in keys.values()):
        first = min(keys)
        raise unclear_subfolders(root, subfolders, first, [n for n in subfolders[first] if name_key(n) in common])
