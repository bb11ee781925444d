"""A folder of images that is made once in the cache, and the labels that it is scored by."""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64

from divcon.data.images import Images
from divcon.data.index.files import Files

ClassOf = Callable[[PurePosixPath], str | None]  # from a file's path below the collection; None: it has no class here
Make = Callable[[Path, Path], None]  # into a folder that is empty, with a folder to work in


@dataclass(frozen=True)
class Pile:
    """A folder of images, and by which labels it is scored. `apart`: the label sets are of different images, so that their
    mean is worth telling."""

    make: Make
    labels: Mapping[str, ClassOf]
    apart: bool = False

    def folder(self, name: str, cache: Path) -> Path:
        """The folder, made if it is not there. Only one process may call this at a time."""
        folder = cache / "studies" / name / "images"
        if not folder.is_dir():
            part, work = folder.with_name("images.part"), folder.with_name("work")
            for path in (part, work):
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir(parents=True)
            self.make(part, work)
            part.rename(folder)
            shutil.rmtree(work)
        return folder


@dataclass(frozen=True)
class Labels:
    """Images that have one class, by position, rising; and the number of the class of each."""

    positions: Int64[np.ndarray, " n"]
    classes: Int64[np.ndarray, " n"]
    names: list[str]


def labeled(images: Images, class_of: ClassOf) -> Labels:
    """The class of each picture by all names that it has; a picture of several classes is left out."""
    classes: dict[int, set[str]] = defaultdict(set)
    files = Files.of(images.index)
    for path, picture in zip(files.paths, files.positions):
        name = class_of(PurePosixPath(os.fsdecode(path)))
        if name is not None:
            classes[int(picture)].add(name)
    certain = {picture: next(iter(its)) for picture, its in sorted(classes.items()) if len(its) == 1}
    names = sorted(set(certain.values()))
    number = {name: i for i, name in enumerate(names)}
    numbers = [number[name] for name in certain.values()]
    return Labels(np.array([*certain], np.int64), np.array(numbers, np.int64), names)


def top(path: PurePosixPath) -> str | None:
    """The outermost folder."""
    return path.parts[0] if len(path.parts) > 1 else None


def second(path: PurePosixPath) -> str | None:
    """The folder in the outermost folder."""
    return path.parts[1] if len(path.parts) > 2 else None


def two(path: PurePosixPath) -> str | None:
    """The two outermost folders, or the only one."""
    return "/".join(path.parts[:-1][:2]) or None


def leaf(path: PurePosixPath) -> str | None:
    """The folder that a file lies in, by its whole path."""
    return str(path.parent) if len(path.parts) > 1 else None


def within(source: str, class_of: ClassOf = top) -> ClassOf:
    """The class by the path below the outermost folder `source`."""

    def below(path: PurePosixPath) -> str | None:
        return class_of(PurePosixPath(*path.parts[1:])) if path.parts[0] == source else None

    return below
