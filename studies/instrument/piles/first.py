"""Open Clip Art, the emoji of a package of Debian and a part of Fashion-MNIST; the mixture of the three."""

import json
import shutil
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from benchmarks.results import FASHION, KINDS, idx
from divcon.api import demo
from divcon.data.synthetic import make_collection
from divcon.errors import InputError
from divcon.rng import uniforms

from .sources import debian

EMOJI, OF_FASHION = "ruby-gemojione", 4000


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
    (gem,) = debian(EMOJI, work).glob("usr/share/rubygems-integration/all/gems/gemojione-*")
    for one in json.loads((gem / "config/index.json").read_text()).values():
        source = gem / "assets/png" / f"{one['unicode']}.png"
        if source.exists():
            target = folder / one["category"] / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def fashion(folder: Path, work: Path) -> None:
    """Some of the training part, always the same."""
    source = debian(FASHION, work) / "usr/share/datasets/fashion-mnist"
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
