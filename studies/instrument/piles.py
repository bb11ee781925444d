"""The collections of the studies, each made once in the cache, the same bytes each time, and the labels that it is scored by.

| name | what | license | images |
|---|---|---|---|
| openclipart | Debian's openclipart-png (131 MB) | public domain | 6,900 |
| mixture | the same; the emoji of Debian's ruby-gemojione (5 MB); 4,000 of Debian's dataset-fashion-mnist (31 MB) | public domain; CC-BY-SA 4.0; MIT | 12,700 |
| made | drawn from a seed (divcon/data/synthetic.py), to try things where there is no Debian | ours | 600 |
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from benchmarks.results import FASHION, KINDS, idx
from divcon.api import demo
from divcon.data.images import Images
from divcon.data.index.files import Files
from divcon.data.synthetic import make_collection
from divcon.errors import InputError
from divcon.rng import uniforms

EMOJI, OF_FASHION = "ruby-gemojione", 4000

ClassOf = Callable[[PurePosixPath], str | None]  # from a file's path below the collection; None: it has no class here


@dataclass(frozen=True)
class Pile:
    """A folder of images, and by which labels it is scored. `apart`: the label sets are of different images, so that their
    mean is worth telling."""

    make: Callable[[Path, Path], None]  # into a folder that is empty, with a folder to work in
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


def leaf(path: PurePosixPath) -> str | None:
    """The folder that a file lies in, by its whole path."""
    return str(path.parent) if len(path.parts) > 1 else None


def within(source: str) -> ClassOf:
    """The outermost folder below that of a source."""
    return lambda path: path.parts[1] if len(path.parts) > 2 and path.parts[0] == source else None


def clip_art(folder: Path, work: Path) -> None:
    found = demo.demo_collection(work.parent)
    if found.name != "openclipart":
        raise InputError(
            f"{demo.PACKAGE} could not be got, and a study takes nothing else in its place; look for apt-get"
        )
    shutil.copytree(found, folder, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(work.parent / "demo")


def emoji(folder: Path, work: Path) -> None:
    """A folder a category, as the package tells them."""
    (gem,) = demo.download_debian_package(EMOJI, work).glob("usr/share/rubygems-integration/all/gems/gemojione-*")
    for one in json.loads((gem / "config/index.json").read_text()).values():
        source = gem / "assets/png" / f"{one['unicode']}.png"
        if source.exists():
            target = folder / one["category"] / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def fashion(folder: Path, work: Path) -> None:
    """Some of the training part, always the same."""
    source = demo.download_debian_package(FASHION, work) / "usr/share/datasets/fashion-mnist"
    images, labels = (idx(source / f"train-{what}.gz") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    write_some(folder, images, labels, OF_FASHION)


def write_some(folder: Path, images: UInt8[np.ndarray, "n h w"], labels: UInt8[np.ndarray, " n"], n: int) -> None:
    """As BMP, which has the same bytes whoever writes it."""
    drawn = uniforms(("studies", "fashion"), np.arange(len(images)), 1)[:, 0]
    for i in np.sort(np.argsort(drawn, kind="stable")[:n]):
        place = folder / KINDS[labels[i]] / f"{i:05}.bmp"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(place)


def mixture(folder: Path, work: Path) -> None:
    for name, source in {"openclipart": clip_art, "emoji": emoji, "fashion": fashion}.items():
        (folder / name).mkdir()
        source(folder / name, work)


def made(folder: Path, work: Path) -> None:
    make_collection(folder, 600, size=32)


PILES = {
    "openclipart": Pile(clip_art, {"top": top, "leaf": leaf}),
    "mixture": Pile(mixture, {name: within(name) for name in ("openclipart", "emoji", "fashion")}, apart=True),
    "made": Pile(made, {"kind": top}),
}
