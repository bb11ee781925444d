"""Errors of a labeled folder whose layout is unclear, with what to type."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...errors import UsageError
from ...files.text import printable
from .split_names import Role, Roles, Subfolders, roles_of, split_pairs


def enumerated_names(folders: Iterable[str], n: int = 3) -> str:
    """Return the first n folders by name, and how many more there are."""
    names = [f"{printable(name)}/" for name in sorted(folders)]
    more = f" and {len(names) - n:,} more" if len(names) > n else ""
    return f"{', '.join(names[:n])}{more}"


def nothing_to_test_on(root: Path, splits: Mapping[Role, str]) -> UsageError:
    """Return the error for a test folder without the classes of the train folder."""
    test = enumerated_names(name for role, name in splits.items() if role != "train")
    return UsageError(
        f"{printable(root)}: there are no classes of {printable(splits['train'])}/ in {test}, so there is nothing to test on. "
        f"Name {printable(root / splits['train'])}, which will be split 70/30, or type split=none if each folder is a class"
    )


def single_split(root: Path, split: str) -> UsageError:
    """Return the error for a folder that holds one split alone."""
    return UsageError(
        f"{printable(root)} holds {enumerated_names([split])} alone, and no other split to train or to test on. Name "
        f"{printable(root / split)}, which will be split 70/30, or put the other split beside it"
    )


def unclear_names(root: Path, subfolders: Subfolders, roles: Roles) -> UsageError:
    """Return the error for folders that may be classes or splits by their names."""
    by_role = sorted(roles.items(), key=lambda item: item[1][0] != "train")
    with_classes = [name for name, _ in by_role if len(subfolders[name]) > 1]
    are = "is a class or a split" if len(roles) == 1 else "are classes or splits"
    return UsageError(
        f"{printable(root)} holds {enumerated_names(subfolders)}: it is not clear whether {enumerated_names(roles)} {are} "
        f"(train, test). {_advice(root, subfolders, roles, with_classes)}"
    )


def unclear_subfolders(root: Path, subfolders: Subfolders, first: str, common: Iterable[str]) -> UsageError:
    """Return the error for folders that hold the same folders, so that they may be splits under any name."""
    return UsageError(
        f"{printable(root)} holds {enumerated_names(subfolders)}, and these hold the same folders ({enumerated_names(common)}): "
        f"it is not clear whether they are classes or splits (train, test). "
        f"{_advice(root, subfolders, roles_of(subfolders), [first])}"
    )


def splits_below_classes(root: Path, first: str, splits: Iterable[str]) -> UsageError:
    """Return the error for a folder in which each class has its own splits."""
    return UsageError(
        f"{printable(root)}: below each class there are splits, like {enumerated_names(f'{first}/{name}' for name in splits)}. "
        "Put the splits above the classes (train/cat, test/cat), or type split=none to mix them"
    )


def _advice(root: Path, subfolders: Subfolders, roles: Roles, with_classes: Sequence[str]) -> str:
    """Return the options that settle the doubt."""
    name = ""
    if with_classes:
        name = f", or name the folder whose subfolders are the classes, like {printable(root / with_classes[0])}"
    split = _suggested_split(subfolders, roles)
    return f"Type split=none if each folder is a class, split={split} to name the splits{name}"


def _suggested_split(subfolders: Subfolders, roles: Roles) -> str:
    """Return the value of split= that the names suggest, if it would work; else the general form."""
    for train, test in split_pairs(roles):
        if _would_work(subfolders, train, test):
            return shlex.quote(f"{'+'.join(train)},{'+'.join(test)}")
    return "TRAIN,TEST"


def _would_work(subfolders: Subfolders, train: Sequence[str], test: Sequence[str]) -> bool:
    """Return true if the folders can be typed, and have classes in common."""
    can_be_typed = all(
        printable(name) == name and "," not in name and (len(side) == 1 or "+" not in name)
        for side in (train, test)
        for name in side
    )
    train_classes = set[str]().union(*(subfolders[name] for name in train))
    test_classes = set[str]().union(*(subfolders[name] for name in test))
    none_empty = all(subfolders[name] for name in (*train, *test))
    return can_be_typed and none_empty and len(train_classes) > 1 and len(train_classes & test_classes) > 1
