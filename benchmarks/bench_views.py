"""Views per second on one core, from decoded pictures: BYOL's first pipeline, which blurs each view.

python -m benchmarks.bench_views

Both sides use one thread. The colors are BYOL's, or torchvision's in the rows that say so. The rows without AVX-512 come from a
process that compiles for a processor of 2013; the other packages run as always.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from divcon.data.pixels.packed import PackedImages
from divcon.data.views.presets import byol
from divcon.data.views.render import views_of
from divcon.data.views.view import Style

from .pairs import Row, Work, interleaved, save
from .view_peers import Picture, albumentation, photo, torchvision

NARROW = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
# height and width of the pictures, side of the views, how many, and how many times as fast as Pillow with torchvision
CASES = [
    ((32, 32), 32, 512, 30),
    ((64, 64), 64, 512, 14),
    ((256, 256), 96, 96, 4),
    ((256, 256), 224, 64, 6),
    ((375, 500), 224, 48, None),
]
AGAINST = "Pillow + torchvision"


def measure() -> Iterator[Row]:
    yield from rows("byol")
    yield from rows("torchvision", ", torchvision's colors")
    yield from unsmoothed()
    yield from narrow()


def rows(style: Style, how: str = "") -> Iterator[Row]:
    for shape, size, n, aim in CASES:
        pictures = [photo(*shape, seed) for seed in range(n)]
        ratio = interleaved(ours(pictures, size, style), theirs(pictures, size))
        rate = f"{n / ratio.ours:,.0f} views a second"
        yield ratio.row(case(shape, size) + how, AGAINST, aim, rate)


def unsmoothed() -> Iterator[Row]:
    """Against albumentations, where its crop is far from the maths of the others'."""
    for shape, size, n, _ in CASES[3:]:
        pictures = [photo(*shape, seed) for seed in range(n)]
        ratio = interleaved(ours(pictures, size, "byol"), quick(pictures, size))
        yield ratio.row(case(shape, size), "albumentations", 1, "its crop is bilinear without antialias")


def narrow() -> Iterator[Row]:
    """The rows for Pillow with torchvision, measured where no vector is longer than AVX2's."""
    command = [sys.executable, "-W", "ignore", "-c", "from benchmarks import bench_views; bench_views.tell()"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, env=os.environ | NARROW, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    yield from json.loads(done.stdout.splitlines()[-1])


def tell() -> None:
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps([{**row, "aim": None} for row in rows("byol", ", AVX2 only")]))


def case(shape: tuple[int, int], size: int) -> str:
    height, width = shape
    return f"{width} x {height} to {size}"


def ours(pictures: list[Picture], size: int, style: Style) -> Work:
    ragged, at = PackedImages.from_arrays(pictures), np.arange(len(pictures))
    view = replace(byol(size)[0], style=style)
    return lambda: views_of(view, ragged, at, (0,), at)


def theirs(pictures: list[Picture], size: int) -> Work:
    photos, pipeline = [Image.fromarray(picture) for picture in pictures], torchvision(size)
    return lambda: [pipeline(photo) for photo in photos]


def quick(pictures: list[Picture], size: int) -> Work:
    pipeline = albumentation(size)
    return lambda: [pipeline(image=picture)["image"] for picture in pictures]


def main() -> None:
    torch.set_num_threads(1)
    save("views", measure())


if __name__ == "__main__":
    main()
