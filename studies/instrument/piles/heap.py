"""Many sources in one pile, a few of them large and most of them small."""

import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

from .pile import Make
from .sources import images_in, place

HEAP = {  # images of each source, of those that it has
    "openclipart": 5000, "units": 3000, "fashion": 2200, "icons": 1800, "terrain": 1400, "google": 1200, "space": 1000,
    "planets": 850, "sky": 700, "digits": 600, "hedgehogs": 500, "emoji": 400, "solids": 320, "penguins": 250, "blocks": 200,
    "flags": 160, "symbols": 130, "cards": 100,
}  # fmt: skip


def heap_of(sources: Mapping[str, Make], sizes: Mapping[str, int]) -> Make:
    """Return a source that takes some images of each of the sources, into a folder of its name."""

    def make(folder: Path, work: Path) -> None:
        for name, n in sizes.items():
            whole = work / "whole" / name
            whole.mkdir(parents=True)
            sources[name](whole, work)
            for path in some(whole, name, n):
                shutil.copyfile(whole / path, place(folder / name / path))
            shutil.rmtree(whole)

    return make


def some(folder: Path, name: str, n: int) -> list[PurePosixPath]:
    """Return the paths of the n images whose names have the smallest digests, sorted: the same ones each time."""
    return sorted(sorted(images_in(folder), key=lambda path: sha256(f"{name}/{path}".encode()).digest())[:n])
