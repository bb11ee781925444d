"""What a run would do and cost, before anything is done: a few steps are timed, the rest is arithmetic."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.pixels import fitted_sizes
from ..dnc import DnC
from ..fit.looking import as_input
from ..fit.loop import train_step
from ..fit.optimisers import optimiser
from ..fit.schedules import steps_for
from ..machine import Machine
from ..method import At, Batch, Method, named
from ..nets.encoder import build
from ..nets.net import width
from ..nets.small_maps import with_products
from ..recipes import Recipe
from ..stages import Learning, Pretrain
from .orders import Order

TIMED = 3  # steps, after one that warms up


def plan(order: Order) -> dict[str, Any]:
    """Images, and for each stage its images, steps, batch and expected seconds; the disk that is needed and free."""
    n = len(order.images)
    base = order.recipe.base
    per_image, parameters = measured(base, n, order.machine)
    stages = [_row(name, learning, images, per_image) for name, learning, images in trainings(order.recipe, n)]
    disk = _disk_mb(order, base, parameters, len(stages))
    return {
        "images": n, "stages": stages, "seconds": round(sum(stage["seconds"] for stage in stages), 1), "disk_mb": round(disk, 1),
        "free_mb": round(_free_mb(order.folder), 1), "why": order.reasons, "machine": order.book.machine,
    }  # fmt: skip


def trainings(recipe: Recipe, n: int) -> list[tuple[str, Learning, int]]:
    """Every training of the pipeline; clusters are taken to be equal, since they are not known yet."""
    if not isinstance(recipe, DnC):
        return [("base", recipe.base, n)]
    k = recipe.clusters.k
    experts = [(f"experts/{i}", recipe.expert.share(1 / k), n // k) for i in range(k)]
    return [("base", recipe.base, n), *experts, ("student", recipe.student, n)]


def measured(recipe: Pretrain, n: int, machine: Machine) -> tuple[float, int]:
    """Seconds an image takes in training, by a few steps on noise; and how many numbers the method remembers."""
    batch_size = min(recipe.batch_size, max(2, n // 8))
    with machine.use():
        torch.manual_seed(0)
        encoder = build(recipe.encoder, recipe.sight.size)
        network = with_products(encoder) if machine.shortcuts else encoder
        method: Method = named(recipe.method)(network, n, **recipe.options)
        machine.put(method).train()
        batch = _noise(recipe, method, batch_size, machine)
        optimizer = optimiser(recipe.optimizer, method, recipe.weight_decay)
        seconds = [_timed(method, optimizer, batch, machine) for _ in range(1 + TIMED)]
    return float(np.median(seconds[1:])) / batch_size, sum(t.numel() for t in method.state_dict().values())


def _noise(recipe: Pretrain, method: Method, batch_size: int, machine: Machine) -> Batch:
    rng = np.random.default_rng(0)
    shape = (batch_size, recipe.sight.size, recipe.sight.size, 3)
    views = [
        as_input(rng.integers(0, 256, shape, np.uint8), recipe.sight, machine) for _ in method.views(recipe.pair())
    ]
    return Batch(views, torch.arange(batch_size, device=machine.device))


def _timed(method: Method, optimizer: torch.optim.Optimizer, batch: Batch, machine: Machine) -> float:
    begin = time.perf_counter()
    at = At(0, 1, 0)
    outcome = train_step(method, optimizer, batch, at, 0.0, machine)
    method.after_step(outcome.kept, at)
    float(outcome.loss.detach())
    return time.perf_counter() - begin


def _row(name: str, learning: Learning, images: int, per_image: float) -> dict[str, Any]:
    batch_size = max(2, min(learning.batch_size, images // 8))
    steps = steps_for(learning.images, batch_size)
    seconds = round(steps * batch_size * per_image, 1)
    return {"stage": name, "images": images, "steps": steps, "batch_size": batch_size, "seconds": seconds}


def _disk_mb(order: Order, base: Pretrain, parameters: int, stages: int) -> float:
    """Every stage's weights, two checkpoints of the one at work with its optimizer, the pixel cache, and what is kept of
    teachers."""
    heights, widths = fitted_sizes(order.images, 2 * base.sight.size)
    pixels = 3.0 * float(heights.astype(np.int64) @ widths.astype(np.int64))
    cached = pixels if pixels <= order.cache_gb * 1e9 else 0.0
    return (4 * parameters * (stages + 6) + cached + _kept_bytes(order.recipe, len(order.images))) / 1e6


def _kept_bytes(recipe: Recipe, n: int) -> float:
    if not isinstance(recipe, DnC) or recipe.student.teacher_view == "same":
        return 0.0
    if recipe.student.place == "pool":
        return 4.0 * n * width(build(recipe.student.encoder, recipe.student.sight.size))
    return 4.0 * n * int(recipe.base.options["dim"])


def _free_mb(folder: Path) -> float:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free / 1e6
