"""Ask, before a run writes anything, if the disks have room for it."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..data.images import Images
from ..data.pixels.pixel_cache import pixel_folder
from ..data.pixels.pixels import fitted_sizes
from ..errors import DiskError
from ..files.paths import nearest_existing_folder
from ..files.text import printable
from ..methods.contract import Method
from ..nets.encoder import build
from ..nets.net import width as encoder_width
from ..nets.trained import InputSpec
from ..runs.folder import RunFolder
from ..runs.recorder import PlannedStage
from ..stages.learning import EncodingPlan, NetworkTraining, TrainingPlan

CHECKPOINTS = 3  # two are kept while a third is written
METRICS = 70_000  # bytes of metrics.jsonl, which has 200 to 400 lines, and of the other records of a training
MOMENTS = {"adamw": 2, "lars": 1, "larc": 1, "sgd": 1}  # numbers that an optimizer keeps for each one it moves


def disk_bytes(stages: Iterable[PlannedStage], images: Images, input_spec: InputSpec, cache_gb: float) -> float:
    """The bytes that these stages take in all: results, checkpoints, teachers' targets, the index, decoded pixels."""
    pixels = pixel_bytes(images, input_spec.short_side)
    index = float(images.index.table.nbytes)
    return _stage_bytes(stages) + index + (pixels if pixels <= cache_gb * 1e9 else 0.0)


def refuse_without_room(
    folder: Path,
    cache: Path,
    stages: Iterable[PlannedStage],
    images: Images,
    input_spec: InputSpec,
    cache_gb: float,
) -> None:
    """DiskError with what is needed and what is free, where there is no room for these stages.

    What the run has written before counts as room: it will be written over.
    """
    needs = {
        folder: _stage_bytes(stages) - RunFolder(folder).checkpoint_bytes(),
        cache: _cache_bytes(cache, input_spec, images, cache_gb),
    }
    disks = dict[int, float]()
    for place, need in needs.items():
        disk = nearest_existing_folder(place).stat().st_dev
        disks[disk] = disks.get(disk, 0.0) + need
        free = free_bytes(place)
        if need > 0 and disks[disk] > free:
            raise DiskError(
                f"there is no room for this in {printable(place)}: about {disks[disk] / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB "
                "are free. Nothing was begun; make room, or name another disk (out=, cache=), or let cache_gb=0 decode "
                "images each time"
            )


def _stage_bytes(stages: Iterable[PlannedStage]) -> float:
    """The bytes of the network of each training, taken to be as large as that of the first one; of the features of other stages;
    and of all that the largest training keeps while it runs."""
    stages = list(stages)
    plans = [stage.training for stage in stages if isinstance(stage.training, TrainingPlan)]
    features = sum(_feature_bytes(stage.encoding) for stage in stages if isinstance(stage.encoding, EncodingPlan))
    if not plans:
        return features
    network, checkpoint = _method_bytes(plans[0])
    kept = len(plans) * (network + METRICS) + features
    return kept + CHECKPOINTS * checkpoint + max(plan.extra_bytes for plan in plans)


def _feature_bytes(plan: EncodingPlan) -> float:
    """The bytes of the features that a stage keeps."""
    net = plan.network.net
    spec = net.projector_spec
    width = {"pool": 0, "hidden": spec.hidden, "projection": spec.dim}[plan.layer] if spec.dim else 0
    return plan.disk_bytes(width or encoder_width(net.encoder))


def _method_bytes(plan: TrainingPlan) -> tuple[float, float]:
    """The bytes of the network that a training ends with, and of one checkpoint of it."""
    recipe = plan.recipe
    with torch.random.fork_rng(devices=[]):
        encoder = build(replace(recipe.encoder, init="random"), recipe.input_spec.size)
        method = plan.method(encoder) if plan.method else encoder
    moments = MOMENTS[recipe.optimizer] if isinstance(recipe, NetworkTraining) else 0
    moved = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    network = method.net if isinstance(method, Method) else method
    return _state_bytes(network), _state_bytes(method) + moments * moved


def _state_bytes(module: torch.nn.Module) -> float:
    return float(sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values()))


def _cache_bytes(cache: Path, input_spec: InputSpec, images: Images, cache_gb: float) -> float:
    """The bytes of the pixel cache that is still to be made."""
    side = input_spec.short_side
    if pixel_folder(images, side, cache).exists() or not os.access(nearest_existing_folder(cache), os.W_OK):
        return 0.0
    size = pixel_bytes(images, side)
    begun = sum(
        512 * file.stat().st_blocks for file in _files(cache / "pixels", f"{pixel_folder(images, side, cache).name}.*")
    )
    return max(0.0, size - begun) if size <= cache_gb * 1e9 else 0.0


def pixel_bytes(images: Images, side: int) -> float:
    """The bytes of all images, decoded, with `side` pixels on the short side."""
    heights, widths = fitted_sizes(images, side)
    return 3.0 * float(heights.astype(np.int64) @ widths.astype(np.int64))


def free_bytes(path: Path) -> int:
    """The free bytes on the disk that a path is on, or will be."""
    return shutil.disk_usage(nearest_existing_folder(path)).free


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    """Every file in the folders below that match."""
    return (path for below in folder.glob(pattern) for path in below.rglob("*") if path.is_file())
