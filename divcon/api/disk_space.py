"""Whether the disks have room for a run, asked before it writes anything."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.images import Images
from ..data.pixels.pixel_cache import pixel_folder
from ..data.pixels.pixels import fitted_sizes
from ..errors import DiskError
from ..files.paths import nearest_folder
from ..files.text import printable
from ..methods.registry import method_named
from ..nets.encoder import build
from ..nets.net import width
from ..nets.trained import InputSpec
from ..pipelines.dnc import DnC
from ..recipes import Recipe
from ..stages.learning import NetworkTraining
from ..stages.pretrain import Pretrain

HALF = 2  # bytes of a number in half precision
CHECKPOINTS = 3  # two are kept while a third is written
MOMENTS = {"adamw": 2, "lars": 1, "larc": 1, "sgd": 1}  # numbers that an optimizer keeps for each one it moves


def disk_bytes(recipe: Recipe, images: Images, stages: int, gb: float) -> float:
    """All that a run of so many stages takes: its results and checkpoints, what teachers say, decoded pixels."""
    pixels = pixel_bytes(images, recipe.base.input_spec.short_side)
    return _results(recipe, len(images), stages) + (pixels if pixels <= gb * 1e9 else 0.0)


def refuse_without_room(folder: Path, cache: Path, recipe: Recipe, images: Images, stages: int, gb: float) -> None:
    """DiskError with what is needed and what is free, where so many more stages can't be kept.

    What the run has written before counts as room: it will be written over.
    """
    needs = {
        folder: _results(recipe, len(images), stages) - _written(folder),
        cache: _pixels(cache, recipe.base.input_spec, images, gb),
    }
    disks = dict[int, float]()
    for place, need in needs.items():
        disk = nearest_folder(place).stat().st_dev
        disks[disk] = disks.get(disk, 0.0) + need
        free = free_bytes(place)
        if need > 0 and disks[disk] > free:
            raise DiskError(
                f"there is no room for this in {printable(place)}: about {disks[disk] / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB "
                "are free. Nothing was begun; make room, or name another disk (out=, cache=), or let cache_gb=0 decode "
                "images each time"
            )


def _results(recipe: Recipe, n: int, stages: int) -> float:
    """Bytes of every stage's result, each taken to be one of the base's, of the checkpoints of the one at work, and of what
    is kept of teachers."""
    base = recipe.base
    encoder = build(replace(base.encoder, init="random"), base.input_spec.size)
    method = method_named(base.method)(encoder, n, **base.options) if isinstance(base, Pretrain) else encoder
    moments = MOMENTS[base.optimizer] if isinstance(base, NetworkTraining) else 0
    state = sum(t.numel() * t.element_size() for t in method.state_dict().values())
    moved = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    at_work = CHECKPOINTS * (state + moments * moved) + _kept(recipe, n)
    return float(at_work + stages * state) if stages else 0.0


def _kept(recipe: Recipe, n: int) -> float:
    """Bytes of what two teachers have to say of each image's center view, where they are asked once."""
    if not isinstance(recipe, DnC) or recipe.student.teacher_view == "same":
        return 0.0
    if recipe.student.layer == "projection":
        return 2.0 * n * HALF * int(recipe.base.options.get("dim", 0))
    return 2.0 * n * HALF * width(build(replace(recipe.student.encoder, init="random"), recipe.student.input_spec.size))


def _pixels(cache: Path, input_spec: InputSpec, images: Images, gb: float) -> float:
    """Bytes of the pixel cache that is still to be made."""
    side = input_spec.short_side
    if pixel_folder(images, side, cache).exists() or not os.access(nearest_folder(cache), os.W_OK):
        return 0.0
    size = pixel_bytes(images, side)
    begun = sum(
        512 * file.stat().st_blocks for file in _files(cache / "pixels", f"{pixel_folder(images, side, cache).name}.*")
    )
    return max(0.0, size - begun) if size <= gb * 1e9 else 0.0


def pixel_bytes(images: Images, side: int) -> float:
    """Of all pictures, decoded, with so many pixels on the short side."""
    heights, widths = fitted_sizes(images, side)
    return 3.0 * float(heights.astype(np.int64) @ widths.astype(np.int64))


def free_bytes(path: Path) -> int:
    """On the disk that a path is on, or will be."""
    return shutil.disk_usage(nearest_folder(path)).free


def _written(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in _files(folder, "**/checkpoints/step-*")))


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    """Every file in the folders below that match."""
    return (path for below in folder.glob(pattern) for path in below.rglob("*") if path.is_file())
