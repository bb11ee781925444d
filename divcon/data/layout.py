"""The layout of a labeled folder: a folder for each class; or parts (train/, val/, test/), each with a folder for each class.

Parts are known by their usual names. Where these may be classes as well, nothing is guessed: UsageError says what to type.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from ..artifacts import show
from ..config import unknown
from ..errors import UsageError
from .names import composed, printed
from .parts import Roles, certain, doubtful, roles_of

# "auto": by the names. None: each folder is a class. "train,val": learn from the one, test on the other.
Split = str | tuple[str, str] | None
Inside = Mapping[str, Set[str]]  # the folders that hold pictures, and for each the folders in it that do
UNLABELED = {"unlabeled", "unlabelled", "unsup", "unsupervised"}  # never a class, unless split= is typed
EXTRA = {*UNLABELED, "extra"}  # never a class beside parts


@dataclass(frozen=True)
class Layout:
    """The folders to learn from and to test on, where there are parts; and folders that are neither part nor class."""

    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    guessed: bool = False

    @property
    def depth(self) -> int:
        """How many folders stand above a class."""
        return 1 if self.train else 0

    def account(self) -> dict[str, list[str]] | None:
        """The parts by the names of their folders."""
        sides = {"train": self.train, "test": self.test, "left_out": self.left_out}
        return (
            {side: [printed(name) for name in sorted(names)] for side, names in sides.items()} if self.train else None
        )

    def class_of(self, folders: Sequence[str]) -> str | None:
        """The class of a file in these folders, one in the other; None where it has none."""
        has = len(folders) > self.depth and not self.leaves_out(folders)
        return folders[self.depth] if has else None

    def leaves_out(self, folders: Sequence[str]) -> bool:
        """Whether these folders have no class by their names."""
        unlabeled = self.guessed and any(name.casefold() in UNLABELED for name in folders[: self.depth + 1])
        return unlabeled or any(name in self.left_out for name in folders[:1])


def laid_out(root: Path, inside: Inside, split: Split) -> Layout:
    """The layout that split= asks for; with "auto" the one that names tell."""
    if split is None:
        return Layout()
    return _by_names(root, inside) if split == "auto" else _asked(root, inside, split)


def _by_names(root: Path, inside: Inside) -> Layout:
    roles = roles_of(inside)
    parts = certain(roles)
    if parts is None:
        if len(inside) == len(roles) == 1:
            raise _alone(root, *inside)
        if doubtful(roles, len(inside)):
            raise _doubt(root, inside, roles)
        _refuse_parts_below(root, inside)
        return Layout(guessed=True)
    train, test = parts["train"], parts.get("test") or parts["val"]
    others = {name for name in inside if name not in parts.values() and name.casefold() not in EXTRA}
    # Where train/ and test/ have the classes, no folder beside them is one.
    if others and len(inside[train] & inside[test]) < 2:
        raise _doubt(root, inside, roles)
    return Layout((train,), (test,), frozenset(inside) - {train, test}, guessed=True)


def _asked(root: Path, inside: Inside, split: str | tuple[str, str]) -> Layout:
    """Two folders, as typed; or several on a side, joined by "+"."""
    sides = split.split(",") if isinstance(split, str) else list(split)
    if len(sides) != 2:
        raise UsageError(
            f"split={show(str(split))}: type split=none if each folder is a class, or the folder to learn from and the folder "
            "to test on, like split=train,val"
        )
    train, test = (_named(root, inside, side) for side in sides)
    if set(train) & set(test):
        raise UsageError(f"split={show(','.join(sides))}: what is learned from can't be tested on; name two folders")
    return Layout(train, test, frozenset(inside) - {*train, *test})


def _named(root: Path, inside: Inside, side: str) -> tuple[str, ...]:
    side = composed(side)
    names = [name.rstrip("/") for name in ([side] if side in inside else side.split("+"))]
    for name in names:
        if name not in inside:
            raise UsageError(
                f"split={show(side)}: {show(root)} holds {listed(inside)}; {unknown('folder', show(name), [*inside])}"
            )
    return tuple(names)


def _refuse_parts_below(root: Path, inside: Inside) -> None:
    """To mix the parts of each class would be another test than the folder's own."""
    if len(inside) > 1 and all(certain(roles_of(below)) for below in inside.values()):
        first = min(inside)
        raise UsageError(
            f"{show(root)}: below each class there are parts, like {listed(f'{first}/{name}' for name in inside[first])}. Put the "
            "parts above the classes (train/cat, test/cat), or type split=none to mix them"
        )


def _alone(root: Path, part: str) -> UsageError:
    return UsageError(
        f"{show(root)} holds {listed([part])} alone, and no other part to learn from or to test on. Name {show(root / part)}, "
        "which will be split 70/30, or put the other part beside it"
    )


def _doubt(root: Path, inside: Inside, roles: Roles) -> UsageError:
    train = [name for name, (role, _) in roles.items() if role == "train"]
    test = [name for kind in ("val", "test") for name, (role, _) in roles.items() if role == kind]
    learn, *rest = [*train[:1], *test] if train or len(test) > 1 else ["LEARN", *test]
    inner = [name for name in (*train, *test) if len(inside[name]) > 1]
    name = f", or name the folder whose subfolders are the classes, like {show(root / inner[0])}" if inner else ""
    are = "is a class or a part" if len(roles) == 1 else "are classes or parts"
    return UsageError(
        f"{show(root)} holds {listed(inside)}: it is not clear whether {listed(roles)} {are} (to learn from, to test on). Type "
        f"split=none if each folder is a class, split={show(learn)},{show(rest[-1]) if rest else 'TEST'} to name the parts{name}"
    )


def listed(folders: Iterable[str], most: int = 3) -> str:
    """A few folders by name, and how many more there are."""
    names = [f"{show(name)}/" for name in sorted(folders)]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
