"""The layout of a labeled folder: a folder for each class; or parts (train/, val/, test/), each with a folder for each class.

Parts are known by their usual names. Where these may be classes as well, nothing is guessed: UsageError says what to type.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from ...config import unknown_name
from ...errors import UsageError
from ...files.text import printable
from ..sources.names import alike, composed, printed
from .parts import Role, Roles, certain, doubtful, pairs, roles_of

# "auto": by the names. None: each folder is a class. "train,val": learn from the one, test on the other.
Split = str | tuple[str, str] | None
Inside = Mapping[str, Set[str]]  # the folders that hold pictures, and for each the folders in it that do
UNLABELED = {"unlabeled", "unsup", "unsupervised"}  # never a class, unless split= is typed
EXTRA = {*UNLABELED, "extra"}  # never a class beside parts
HOLDERS = {"images", "imgs", "img", "jpegimages"}  # folders of all pictures, beside which their masks may lie


@dataclass(frozen=True)
class Layout:
    """The folders to learn from and to test on, where there are parts; and folders that are neither part nor class."""

    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    guessed: bool = False
    untestable: str | None = None  # a folder that is called test, and has no classes to test on

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
    if split is None or split == "none":
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
        _refuse_the_same_below(root, inside)
        return Layout(guessed=True)
    train, test = parts["train"], _testable(inside, parts)
    others = {name for name in inside if name not in parts.values() and name.casefold() not in EXTRA}
    # Where train/ and test/ have the classes, no folder beside them is one.
    if others and len(inside[train] & inside[test]) < 2:
        raise _doubt(root, inside, roles)
    if len(inside[train]) > 1 and _unsorted(inside[test], inside[train]):
        raise _nothing_to_test_on(root, parts)
    untestable = parts["test"] if parts.get("test", test) != test else None
    return Layout((train,), (test,), frozenset(inside) - {train, test}, True, untestable)


def _testable(inside: Inside, parts: Mapping[Role, str]) -> str:
    """Competitions keep the classes of test/ to themselves: then val/ is tested on."""
    named = [parts[role] for role in ("test", "val") if role in parts]
    with_classes = [name for name in named if not _unsorted(inside[name], inside[parts["train"]])]
    return [*with_classes, *named][0] if len(inside[parts["train"]]) > 1 else named[0]


def _unsorted(below: Set[str], learned: Set[str]) -> bool:
    """Whether these are no classes: no folder, one for all pictures, or one that nothing is learned of."""
    names = {alike(name) for name in below if name.casefold() not in HOLDERS | EXTRA}
    return len(names) < 2 and not names & {alike(name) for name in learned}


def _asked(root: Path, inside: Inside, split: str | tuple[str, str]) -> Layout:
    """Two folders, as typed; or several on a side, joined by "+"."""
    sides = split.split(",") if isinstance(split, str) else list(split)
    if len(sides) != 2:
        raise UsageError(
            f"split={printable(str(split))}: type split=none if each folder is a class, or the folder to learn from and the folder "
            "to test on, like split=train,val"
        )
    train, test = (_named(root, inside, side) for side in sides)
    if set(train) & set(test):
        raise UsageError(
            f"split={printable(','.join(sides))}: what is learned from can't be tested on; name two folders"
        )
    return Layout(train, test, frozenset(inside) - {*train, *test})


def _named(root: Path, inside: Inside, side: str) -> tuple[str, ...]:
    side = composed(side)
    names = [name.rstrip("/") for name in ([side] if side in inside else side.split("+"))]
    for name in names:
        if name not in inside:
            raise UsageError(
                f"split={printable(side)}: {printable(root)} holds {enumerated_names(inside)}; {unknown_name('folder', printable(name), [*inside])}"
            )
    return tuple(names)


def _refuse_parts_below(root: Path, inside: Inside) -> None:
    """To mix the parts of each class would be another test than the folder's own."""
    if len(inside) > 1 and all(certain(roles_of(below)) for below in inside.values()):
        first = min(inside)
        raise UsageError(
            f"{printable(root)}: below each class there are parts, like {enumerated_names(f'{first}/{name}' for name in inside[first])}. Put the "
            "parts above the classes (train/cat, test/cat), or type split=none to mix them"
        )


def _refuse_the_same_below(root: Path, inside: Inside) -> None:
    """Parts have the same classes, whatever they are called, in any language: years, folds, domains."""
    deep = {name: {alike(each) for each in below} for name, below in inside.items() if below}
    held = Counter(each for below in deep.values() for each in below)
    usual = {each for each, folders in held.items() if 2 * folders > len(deep)}
    others = {name for name in inside if name not in deep and name.casefold() not in EXTRA}
    if len(deep) < 2 or len(others) >= len(deep) or usual & HOLDERS:
        return
    most = min(len(below) for below in deep.values()) // 2 + 1
    if all(len(below & usual) >= max(2, most) for below in deep.values()):
        first = min(deep)
        same = enumerated_names(name for name in inside[first] if alike(name) in usual)
        raise UsageError(
            f"{printable(root)} holds {enumerated_names(inside)}, and these hold the same folders ({same}): it is not clear whether they are "
            f"classes or parts (to learn from, to test on). {_ways(root, inside, roles_of(inside), [first])}"
        )


def _nothing_to_test_on(root: Path, parts: Mapping[Role, str]) -> UsageError:
    test = [name for role, name in parts.items() if role != "train"]
    return UsageError(
        f"{printable(root)}: there are no classes of {printable(parts['train'])}/ in {enumerated_names(test)}, so there is nothing to test on. Name "
        f"{printable(root / parts['train'])}, which will be split 70/30, or type split=none if each folder is a class"
    )


def _alone(root: Path, part: str) -> UsageError:
    return UsageError(
        f"{printable(root)} holds {enumerated_names([part])} alone, and no other part to learn from or to test on. Name {printable(root / part)}, "
        "which will be split 70/30, or put the other part beside it"
    )


def _doubt(root: Path, inside: Inside, roles: Roles) -> UsageError:
    inner = [
        name
        for name, (role, _) in sorted(roles.items(), key=lambda item: item[1][0] != "train")
        if len(inside[name]) > 1
    ]
    are = "is a class or a part" if len(roles) == 1 else "are classes or parts"
    return UsageError(
        f"{printable(root)} holds {enumerated_names(inside)}: it is not clear whether {enumerated_names(roles)} {are} (to learn from, to test on). "
        f"{_ways(root, inside, roles, inner)}"
    )


def _ways(root: Path, inside: Inside, roles: Roles, inner: Sequence[str]) -> str:
    """Words that settle a doubt."""
    name = f", or name the folder whose subfolders are the classes, like {printable(root / inner[0])}" if inner else ""
    return f"Type split=none if each folder is a class, split={_split(inside, roles)} to name the parts{name}"


def _split(inside: Inside, roles: Roles) -> str:
    """The split that the names speak for, where it would do; else the general form."""
    for learn, test in pairs(roles):
        if _would_do(inside, learn, test):
            return shlex.quote(f"{'+'.join(learn)},{'+'.join(test)}")
    return "LEARN,TEST"


def _would_do(inside: Inside, learn: Sequence[str], test: Sequence[str]) -> bool:
    """Whether these can be typed, and have classes that are learned and tested."""
    typed = all(
        printable(name) == name and "," not in name and (len(side) == 1 or "+" not in name)
        for side in (learn, test)
        for name in side
    )
    learned = set[str]().union(*(inside[name] for name in learn))
    tested = set[str]().union(*(inside[name] for name in test))
    return typed and len(learned) > 1 and all(inside[name] for name in (*learn, *test)) and len(learned & tested) > 1


def enumerated_names(folders: Iterable[str], most: int = 3) -> str:
    """A few folders by name, and how many more there are."""
    names = [f"{printable(name)}/" for name in sorted(folders)]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
