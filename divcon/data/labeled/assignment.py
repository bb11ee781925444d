"""The classes of each image, by every name that it has: a copy of it may lie in the folder of another class."""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

from ..images import Images
from ..index.files import Files
from ..sources.names import folders_of, is_hidden, name_key
from .layout import Layout
from .split_names import Subfolders


@dataclass(frozen=True)
class VisibleFiles:
    """The files of a collection, copies among them, without hidden ones.

    For each file `positions` has the position of its image, and `folders` the names of the folders above it, in NFC.
    """

    positions: list[int]
    folders: list[tuple[str, ...]]
    n_hidden: int

    @classmethod
    def of(cls, images: Images) -> "VisibleFiles":
        """Return the visible files that hold these images."""
        files = Files.of(images.index)
        visible = [
            (int(position), folders_of(path))
            for position, path in zip(files.positions, files.paths)
            if not is_hidden(path)
        ]
        positions, folders = [position for position, _ in visible], [folders for _, folders in visible]
        return cls(positions, folders, len(files.paths) - len(visible))

    @cached_property
    def subfolders(self) -> Subfolders:
        """The folders right below the root, and for each the folders in it."""
        subfolders: dict[str, set[str]] = defaultdict(set)
        for first, *below in filter(None, set(self.folders)):
            subfolders[first].update(below[:1])
        return subfolders

    def without_wrappers(self) -> "VisibleFiles":
        """Remove the folder between a split and its classes that unpacking an archive leaves (train/train/cat).

        A folder that is alone in another one is such a wrapper where both have one name, or where the folders in it are
        also those of another split.
        """
        alone = {first: min(below) for first, below in self.subfolders.items() if len(below) == 1}
        below = {first: set(names) for first, names in self.subfolders.items() if first not in alone}
        for names in set(self.folders):
            if len(names) > 2 and names[0] in alone:
                below.setdefault(names[0], set()).add(names[2])
        counts = Counter(key for names in below.values() for key in {name_key(name) for name in names})
        same_name = {first for first, name in alone.items() if name_key(first) == name_key(name)}
        wrapped = {
            first
            for first in alone
            if sum(first in same_name or counts[name_key(name)] > 1 for name in below.get(first, ())) > 1
        }
        return replace(self, folders=[(*f[:1], *f[2:]) if f and f[0] in wrapped else f for f in self.folders])

    def only_folder(self) -> tuple[str, set[str]] | None:
        """Return the folder that holds all files, and the folders in it; None where the root has several folders."""
        above: list[str] = []
        while len(names := {folders[len(above)] for folders in self.folders if len(folders) > len(above)}) == 1:
            above += names
        return ("/".join(above), names) if above and names else None


@dataclass(frozen=True)
class ClassAssignment:
    """The names of the classes of each image, by position; and the images of one class in a train or test folder.

    `left_out` counts the files and images that are not used. `only_folder` is VisibleFiles.only_folder.
    """

    classes: dict[int, set[str]]
    train: set[int]
    test: set[int]
    left_out: dict[str, int]
    only_folder: tuple[str, set[str]] | None

    @cached_property
    def certain(self) -> list[int]:
        """The positions of the images with one class, sorted."""
        return sorted(position for position, names in self.classes.items() if len(names) == 1)

    @cached_property
    def contradictory(self) -> list[int]:
        """The positions of the images with several classes, sorted."""
        return sorted(position for position, names in self.classes.items() if len(names) > 1)

    @cached_property
    def names(self) -> list[str]:
        """The names of the classes, in the order of their bytes."""
        names = self._classes_of(set(self.certain))
        return sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))

    @property
    def train_classes(self) -> set[str]:
        return self._classes_of(self.train - self.test)

    @property
    def test_classes(self) -> set[str]:
        return self._classes_of(self.test)

    @property
    def splits_have_no_common_class(self) -> bool:
        return bool(self.train_classes) and not self.train_classes & self.test_classes

    def _classes_of(self, positions: set[int]) -> set[str]:
        return {min(self.classes[position]) for position in positions}


def assign_classes(layout: Layout, files: VisibleFiles) -> ClassAssignment:
    """Return the classes of the images by the folders of their files, and the split of each image."""
    classes, splits = defaultdict[int, set[str]](set), defaultdict[bool, set[int]](set)
    counts: Counter[str] = Counter(hidden=files.n_hidden)
    for position, folders in zip(files.positions, files.folders):
        name = layout.class_of(folders)
        if name is None:
            counts["other_folders" if layout.leaves_out(folders) else "no_class"] += 1
        else:
            classes[position].add(name)
            splits[folders[0] in layout.test].add(position)
    several = {position for position, names in classes.items() if len(names) > 1}
    train, test = splits[False] - several, splits[True] - several
    left_out = {name: counts[name] for name in ("hidden", "no_class", "other_folders")}
    left_out |= {"several_classes": len(several), "train_and_test": len(train & test)}
    return ClassAssignment(classes, train, test, left_out, files.only_folder())
