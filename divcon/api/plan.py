"""What a run would do and cost, before anything is done: a few steps are timed, the rest is arithmetic."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..config import unknown
from ..errors import UsageError
from ..files.paths import Data
from ..machine import Machine
from ..methods.classify import Classify
from ..methods.contract import At, Batch, Method
from ..methods.registry import method_named
from ..nets.encoder import build
from ..nets.fast_small_maps import with_fast_small_maps
from ..nets.net import width
from ..nets.recompute import recomputing
from ..pipelines.clusterfit import ClusterFit
from ..pipelines.dnc import DnC
from ..pipelines.supervised import Supervised, to_learn_from
from ..recipes import Recipe
from ..runs.records import expected_stages
from ..stages.classify import Classification
from ..stages.distill import Distillation
from ..stages.factorize import Factorization
from ..stages.learning import NetworkTraining
from ..stages.pretrain import Pretrain
from ..train.encode import to_input
from ..train.factorization import make_factorizer
from ..train.loop import train_step
from ..train.optimizers import make_optimizer
from ..train.schedules import steps_for
from .disk_space import disk_bytes, free_bytes
from .entry import exclusive
from .preflight import remaining
from .run_plan import RunPlan, prepare_run

TIMED = 3  # steps, after one that warms up


@dataclass(frozen=True)
class Part:
    """One training of the pipeline, on so many images; `classes` are what a classification tells apart."""

    stage: str
    recipe: NetworkTraining | Factorization
    images: int
    classes: int = 0

    @property
    def batch_size(self) -> int:
        return max(2, min(self.recipe.batch_size, self.images // 8))


@exclusive
def plan(data: Data, *, out: str | Path, only: str | None = None, **options: Any) -> dict[str, Any]:
    """Return what `run` with these arguments would do: its images, and for each stage (or for the stage `only`) the
    images, steps, batch size and expected seconds; the disk space that is needed and free. Nothing is written."""
    return cost_of(prepare_run(data, out, options), only)


def cost_of(order: RunPlan, only: str | None = None) -> dict[str, Any]:
    """The answer of `plan` for a prepared run."""
    _refuse_unknown(order, only)
    parts = [part for part in trainings(order) if only in (None, *_names(part.stage))]
    costs = _costs(parts, order.machine)
    stages = [_row(part, costs[_kind(part)]) for part in parts]
    disk = disk_bytes(order.recipe, order.images, len(stages), order.cache_gb) / 1e6
    why = [*order.reasons, *_unknown(order.recipe, len(order.images))]
    return {
        "images": len(order.images),
        "stages": stages,
        "seconds": round(sum(stage["seconds"] for stage in stages), 1),
        "disk_mb": round(disk, 1),
        "free_mb": round(free_bytes(order.folder) / 1e6, 1),
        "why": why,
        "machine": order.record.machine,
    }


def _refuse_unknown(order: RunPlan, only: str | None) -> None:
    stages = expected_stages(order.folder, order.record)
    if only is not None and only not in {name for stage in stages for name in _names(stage)}:
        raise UsageError(unknown("stage", only, stages))


def _names(stage: str) -> tuple[str, str]:
    """As a stage may be asked for: with its number, or all of them."""
    return stage, stage.split("/")[0]


def trainings(order: RunPlan) -> list[Part]:
    """Every training of the pipeline; clusters are taken to be equal, since they are not known yet."""
    recipe, n = order.recipe, len(order.images)
    if isinstance(recipe, Supervised):
        known = to_learn_from(recipe.truth, order.cache, order.machine.workers)
        return [Part("base", recipe.base, len(known.images), len(known.classes))]
    base = Part("base", recipe.base, n)
    if isinstance(recipe, ClusterFit):
        return [base, Part("refit", recipe.refit, n, remaining(recipe.clusters, n))]
    if not isinstance(recipe, DnC):
        return [base]
    k = remaining(recipe.clusters, n)
    experts = [Part(f"experts/{i}", recipe.expert.share(1 / k), n // k) for i in range(k)]
    return [base, *experts, Part("student", recipe.student, n)]


def _unknown(recipe: Recipe, n: int) -> list[str]:
    """What the plan takes for granted."""
    if not isinstance(recipe, DnC | ClusterFit):
        return []
    k, smallest = remaining(recipe.clusters, n), recipe.clusters.smallest
    fewer = f"; {k} of {recipe.clusters.k} can have {smallest:,} images" if k < recipe.clusters.k else ""
    merged = ", and how many will be merged for being small," if smallest > 1 else ""
    return [f"clusters {k}, all of a size: how large they will be{merged} is not known yet{fewer}"]


def _kind(part: Part) -> type:
    """What costs alike: a student's step is taken to be one of the base's."""
    return Pretrain if isinstance(part.recipe, Distillation) else type(part.recipe)


def _costs(parts: list[Part], machine: Machine) -> dict[type, float]:
    first: dict[type, Part] = {}
    for part in parts:
        first.setdefault(_kind(part), part)
    return {kind: measured(part, machine) for kind, part in first.items()}


def measured(part: Part, machine: Machine) -> float:
    """Seconds an image takes in training, by a few steps on noise."""
    recipe = part.recipe
    with machine.use():
        torch.manual_seed(0)
        encoder = build(recipe.encoder, recipe.input_spec.size)
        step = (
            _factoring(recipe, encoder, part)
            if isinstance(recipe, Factorization)
            else _learning(recipe, encoder, part, machine)
        )
        seconds = [_timed(step) for _ in range(1 + TIMED)]
    return float(np.median(seconds[1:])) / part.batch_size


def _factoring(recipe: Factorization, encoder: nn.Module, part: Part) -> Callable[[], Any]:
    model, pixels = make_factorizer(width(encoder), part.batch_size / part.images, 0), 3 * recipe.input_spec.size**2
    noise = np.random.default_rng(0).random((part.batch_size, pixels), np.float32)
    return lambda: model.partial_fit(noise)


def _learning(recipe: NetworkTraining, encoder: nn.Module, part: Part, machine: Machine) -> Callable[[], Any]:
    if recipe.recompute:
        recomputing(encoder, recipe.encoder.name)
    method = _method(recipe, with_fast_small_maps(encoder) if machine.fast_small_maps else encoder, part)
    machine.put(method).train()
    batch = _noise(recipe, method, part.batch_size, machine)
    optimizer = make_optimizer(recipe.optimizer, method, recipe.weight_decay)
    return lambda: _step(method, optimizer, batch, machine)


def _method(recipe: NetworkTraining, network: nn.Module, part: Part) -> Method:
    if isinstance(recipe, Classification):
        return Classify(network, part.images, torch.arange(part.images) % part.classes, smoothing=recipe.smoothing)
    assert isinstance(recipe, Pretrain)
    return method_named(recipe.method)(network, part.images, **recipe.options)


def _noise(recipe: NetworkTraining, method: Method, batch_size: int, machine: Machine) -> Batch:
    rng = np.random.default_rng(0)
    views = [
        to_input(rng.integers(0, 256, (batch_size, view.size, view.size, 3), np.uint8), recipe.input_spec, machine)
        for view in method.views(recipe.pair())
    ]
    return Batch(views, torch.arange(batch_size, device=machine.device))


def _step(method: Method, optimizer: torch.optim.Optimizer, batch: Batch, machine: Machine) -> float:
    at = At(0, 1, 0)
    outcome = train_step(method, optimizer, batch, at, 0.0, machine)
    method.after_step(outcome.kept, at)
    return float(outcome.loss.detach())


def _timed(step: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def _row(part: Part, per_image: float) -> dict[str, Any]:
    steps = steps_for(part.recipe.images, part.batch_size)
    seconds = round(steps * part.batch_size * per_image, 1)
    return {
        "stage": part.stage,
        "images": part.images,
        "steps": steps,
        "batch_size": part.batch_size,
        "seconds": seconds,
    }
