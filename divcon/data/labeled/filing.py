"""What each picture is filed under: by every name that it has, for a copy may lie in another class's folder."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ... import log
from ...files.text import printable
from ..images import Images
from ..index.files import Files
from ..sources.names import alike, folders_of, hidden
from .layout import Inside, Layout, enumerated_names
from .parts import roles_of

FEW = 3  # examples in a message


@dataclass(frozen=True)
class Filed:
    """For each visible file its picture and the folders above it, by their composed names; and how many are hidden."""

    pictures: list[int]
    folders: list[tuple[str, ...]]
    hidden: int

    @cached_property
    def inside(self) -> Inside:
        """The first-level folders, and those in each."""
        inside: dict[str, set[str]] = defaultdict(set)
        for first, *below in filter(None, set(self.folders)):
            inside[first].update(below[:1])
        return inside

    def seen_through(self) -> "Filed":
        """Without a lone folder inside a part, as an archive unpacked into its own name leaves it (train/train/cat): there
        is one where it has the part's name, or the folders in it are also those of another part."""
        lone = {first: min(below) for first, below in self.inside.items() if len(below) == 1}
        below = {first: set(names) for first, names in self.inside.items() if first not in lone}
        for steps in set(self.folders):
            if len(steps) > 2 and steps[0] in lone:
                below.setdefault(steps[0], set()).add(steps[2])
        held = Counter(name for names in below.values() for name in {alike(each) for each in names})
        unpacked = {first for first, name in lone.items() if alike(first) == alike(name)}
        through = {
            first
            for first in lone
            if sum(first in unpacked or held[alike(name)] > 1 for name in below.get(first, ())) > 1
        }
        return replace(self, folders=[(*f[:1], *f[2:]) if f and f[0] in through else f for f in self.folders])


def filed(images: Images) -> Filed:
    """Where the files of these images lie, copies among them."""
    files = Files.of(images.index)
    seen = [(int(at), folders_of(path)) for at, path in zip(files.pictures, files.paths) if not hidden(path)]
    return Filed([at for at, _ in seen], [folders for _, folders in seen], len(files.paths) - len(seen))


@dataclass(frozen=True)
class Filing:
    """For each picture the classes it is filed under; those that are to test on, and those that are to learn from too."""

    classes: dict[int, set[str]]
    tested: set[int]
    learned: set[int]
    left_out: dict[str, int]
    deeper: tuple[str, set[str]] | None  # below which folder there are several, where there is only one above it

    @cached_property
    def certain(self) -> list[int]:
        """The pictures of one class, by position."""
        return sorted(at for at, names in self.classes.items() if len(names) == 1)

    @cached_property
    def contradictory(self) -> list[int]:
        return sorted(at for at, names in self.classes.items() if len(names) > 1)

    @cached_property
    def names(self) -> list[str]:
        """The classes, in the order of their names' bytes."""
        names = self._classes_of(set(self.certain))
        return sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))

    @property
    def learned_classes(self) -> set[str]:
        return self._classes_of(self.learned - self.tested)

    @property
    def tested_classes(self) -> set[str]:
        return self._classes_of(self.tested)

    @property
    def nothing_learned(self) -> bool:
        """Whether no class that is tested has a picture to learn from, though other classes have."""
        return bool(self.learned_classes) and not self.learned_classes & self.tested_classes

    def near_names(self) -> str:
        """Classes that are learned under one name and tested under another one, which people take for the same."""
        learned = {alike(name): name for name in sorted(self.learned_classes)}
        unlearned = sorted(self.tested_classes - self.learned_classes)
        near = [
            f"'{printable(learned[alike(name)])}' and '{printable(name)}'"
            for name in unlearned
            if alike(name) in learned
        ]
        more = f" and {len(near) - FEW:,} more" if len(near) > FEW else ""
        return f". Give each class one name: there are {', '.join(near[:FEW])}{more}" if near else ""

    def _classes_of(self, pictures: set[int]) -> set[str]:
        return {min(self.classes[at]) for at in pictures}

    def tell(self, layout: Layout, images: Images) -> None:
        """Say what is left out, and what is not as it should be."""
        if layout.untestable is not None:
            log.warning(
                f"{printable(layout.untestable)}/ has no folders of classes, so {enumerated_names(layout.test)} is tested on"
            )
        _tell_left_out(self.left_out, layout)
        if self.contradictory:
            log.warning(
                f"pictures filed under more than one class: {len(self.contradictory):,}. They are left out: "
                f"{_examples(self.contradictory, images)}"
            )
        both = sorted(self.tested & self.learned)
        if both:
            log.warning(
                f"pictures in {enumerated_names(layout.train)} and in {enumerated_names(layout.test)}: {len(both):,}. They are tested on, and not learned "
                f"from: {_examples(both, images)}"
            )
        unlearned = self.tested_classes - self.learned_classes
        if unlearned and not self.nothing_learned:
            log.warning(
                f"classes without a picture to learn from in {enumerated_names(layout.train)}: {len(unlearned):,}. All their pictures in "
                f"{enumerated_names(layout.test)} count as told wrong: {enumerated_names(unlearned)}{self.near_names()}"
            )


def file_by(layout: Layout, files: Filed) -> Filing:
    """The pictures by class and part."""
    classes, parts = defaultdict[int, set[str]](set), defaultdict[bool, set[int]](set)
    counts: Counter[str] = Counter(hidden=files.hidden)
    for at, folders in zip(files.pictures, files.folders):
        name = layout.class_of(folders)
        if name is None:
            counts["other_folders" if layout.leaves_out(folders) else "no_class"] += 1
        else:
            classes[at].add(name)
            parts[folders[0] in layout.test].add(at)
    several = {at for at, names in classes.items() if len(names) > 1}
    tested, learned = parts[True] - several, parts[False] - several
    left_out = {name: counts[name] for name in ("hidden", "no_class", "other_folders")}
    left_out |= {"several_classes": len(several), "learned_and_tested": len(tested & learned)}
    return Filing(classes, tested, learned, left_out, _deeper(files))


def _deeper(files: Filed) -> tuple[str, set[str]] | None:
    """The folder that holds everything, and what folders are in there."""
    above: list[str] = []
    while len(names := {steps[len(above)] for steps in files.folders if len(steps) > len(above)}) == 1:
        above += names
    return ("/".join(above), names) if above and names else None


def _tell_left_out(counts: dict[str, int], layout: Layout) -> None:
    said = {
        "hidden": "files with hidden names or in system folders",
        "no_class": "files outside the folders of classes",
        "other_folders": f"files in {enumerated_names(layout.left_out) or 'folders without labels'}",
    }
    some = [f"{what}: {counts[name]:,}" for name, what in said.items() if counts[name]]
    if some:
        log.warning(f"left out of the labeled images are {'; '.join(some)}{_way_to_more(layout)}")


def _way_to_more(layout: Layout) -> str:
    """Beside train/ and test/, a val/ has labels too."""
    more = [name for name, (role, _) in roles_of(layout.left_out).items() if role == "val"]
    if not layout.guessed or len(more) != 1:
        return ""
    split = f"{layout.train[0]}+{more[0]},{layout.test[0]}"
    return f". To learn from {enumerated_names(more)} too, type split={printable(split)}"


def _examples(pictures: Sequence[int], images: Images) -> str:
    """Some of the pictures, each by its visible names."""
    some, files = pictures[:FEW], Files.of(images.index)
    rows = {at: np.flatnonzero(files.pictures == at) for at in some}
    named = [[files.paths[row] for row in rows[at] if not hidden(files.paths[row])] for at in some]
    more = ", ..." if len(pictures) > FEW else ""
    return ", ".join(" = ".join(printable(path) for path in sorted(paths)[:FEW]) for paths in named) + more
