"""Plan a run before anything is done: a few steps are timed, the rest is arithmetic."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..answers import Answer
from ..config import Json, unknown_name
from ..errors import UsageError
from ..files.paths import Data
from ..machine import Machine
from ..methods.contract import Batch, Method, Step
from ..nets.encoder import build
from ..nets.net import width
from ..stages.cluster import Divide
from ..stages.learning import NetworkTraining, TrainingPlan, new_encoder
from ..train.encode import to_input
from ..train.factorization import make_factorizer
from ..train.loop import train_step
from ..train.optimizers import make_optimizer
from .disk_space import disk_bytes, free_bytes
from .entry import runs_alone
from .expert_waves import seconds_on_groups
from .run_plan import RunPlan, prepare_run, ranks_needed
from .work import images_shown

TIMED = 3  # steps, after one that warms up


@dataclass(frozen=True)
class PlannedTraining(Answer):
    """A training of a plan; `seconds` are expected ones."""

    stage: str
    images: int
    steps: int
    batch_size: int
    seconds: float


@dataclass(frozen=True)
class PlanAnswer(Answer):
    """The answer of `plan`: the images, each training, the seconds of all, the disk space that is needed and free, the reasons
    for options that were chosen, and the machine."""

    images: int
    stages: list[PlannedTraining]
    seconds: float
    disk_mb: float
    free_mb: float
    why: list[str]
    machine: dict[str, Json]


@runs_alone
def plan(data: Data, *, out: str | Path, only: str | None = None, **options: Any) -> PlanAnswer:
    """Return what `run` with these arguments would do: its images, and for each training (or for the stage `only`) the
    images, steps, batch size and expected seconds; the disk space that is needed and free. Nothing is written."""
    return cost_of(prepare_run(data, out, options), only)


def cost_of(run_plan: RunPlan, only: str | None = None) -> PlanAnswer:
    """The answer of `plan` for a prepared run."""
    _refuse_unknown(run_plan, only)
    chosen = [stage for stage in run_plan.stages if only in (None, stage.name, stage.group)]
    plans = {stage.name: stage.training for stage in chosen if isinstance(stage.training, TrainingPlan)}
    seconds = _seconds_an_image(run_plan, {type(plan.recipe) for plan in plans.values()})
    rows = [_row(name, plan, seconds[type(plan.recipe)] / ranks_needed(run_plan, name)) for name, plan in plans.items()]
    disk = disk_bytes(chosen, run_plan.images, run_plan.recipe.base.input_spec, run_plan.cache_gb) / 1e6
    return PlanAnswer(
        images=len(run_plan.images),
        stages=rows,
        seconds=round(_seconds_in_all(run_plan, rows), 1),
        disk_mb=round(disk, 1),
        free_mb=round(free_bytes(run_plan.folder) / 1e6, 1),
        why=[*run_plan.reasons, *_assumptions(run_plan)],
        machine=run_plan.record.machine,
    )


def _seconds_in_all(run_plan: RunPlan, rows: Sequence[PlannedTraining]) -> float:
    """The seconds of all trainings; parts of the ranks do members of a group side by side."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.stage.split("/")[0], []).append(row.seconds)
    parts = run_plan.machine.ranks // run_plan.machine.expert_ranks
    return sum(seconds_on_groups(each, parts) for each in groups.values())


def _refuse_unknown(run_plan: RunPlan, only: str | None) -> None:
    known = [*(stage.name for stage in run_plan.stages), *(stage.group for stage in run_plan.stages)]
    if only is not None and only not in known:
        raise UsageError(unknown_name("stage", only, [stage.name for stage in run_plan.stages]))


def _assumptions(run_plan: RunPlan) -> list[str]:
    """The assumptions of the plan: the number and the sizes of clusters are not known yet."""
    n, assumed = len(run_plan.images), []
    for name, division in run_plan.recipe.parts(Divide):
        k, smallest = division.remaining(n), division.smallest
        fewer = f"; {k} of {division.k} can have {smallest:,} images" if k < division.k else ""
        merged = ", and how many will be merged for being small," if smallest > 1 else ""
        assumed.append(f"{name} {k}, all of a size: how large they will be{merged} is not known yet{fewer}")
    return assumed


def _seconds_an_image(run_plan: RunPlan, kinds: set[type]) -> dict[type, float]:
    """The seconds that an image takes in a training, by the kind of its recipe: the first training of each kind is timed.
    A student's teachers are not there yet: its step is taken to cost what one of the base's does."""
    plans = [stage.training for stage in run_plan.stages if isinstance(stage.training, TrainingPlan)]
    first: dict[type, TrainingPlan] = {}
    for plan in plans:
        first.setdefault(type(plan.recipe), plan if plan.method else plans[0])
    seconds = {id(plan): measured(plan, run_plan.machine) for kind, plan in first.items() if kind in kinds}
    return {kind: seconds[id(plan)] for kind, plan in first.items() if kind in kinds}


def measured(plan: TrainingPlan, machine: Machine) -> float:
    """The seconds that an image takes in a training, by a few steps on noise."""
    with machine.use():
        torch.manual_seed(0)
        step = _factorization_step(plan) if plan.method is None else _training_step(plan, plan.method, machine)
        seconds = [_timed(step) for _ in range(1 + TIMED)]
    return float(np.median(seconds[1:])) / int(plan.recipe.batch_size)


def _factorization_step(plan: TrainingPlan) -> Callable[[], object]:
    recipe = plan.recipe
    components = width(build(recipe.encoder, recipe.input_spec.size))
    model, pixels = make_factorizer(components, recipe.batch_size / plan.images, 0), 3 * recipe.input_spec.size**2
    noise = np.random.default_rng(0).random((recipe.batch_size, pixels), np.float32)
    return lambda: model.partial_fit(noise)


def _training_step(plan: TrainingPlan, build_method: Callable[..., Method], machine: Machine) -> Callable[[], object]:
    recipe = plan.recipe
    method = build_method(new_encoder(recipe, machine))
    machine.to_device(method).train()
    batch = noise_batch(recipe, method, machine)
    optimizer = make_optimizer(recipe.optimizer, method, recipe.weight_decay)
    return lambda: step_on(method, optimizer, batch, machine)


def noise_batch(recipe: NetworkTraining, method: Method, machine: Machine) -> Batch:
    """Return a batch of noise in the views that a training shows."""
    rng = np.random.default_rng(0)
    views = [
        to_input(
            rng.integers(0, 256, (recipe.batch_size, view.size, view.size, 3), np.uint8), recipe.input_spec, machine
        )
        for view in method.views(recipe.pair())
    ]
    return Batch(views, torch.arange(recipe.batch_size, device=machine.device))


def step_on(method: Method, optimizer: torch.optim.Optimizer, batch: Batch, machine: Machine) -> float:
    """Do a whole step of a training on the batch, and return the loss."""
    at = Step(0, 1, 0)
    outcome = train_step(method, optimizer, batch, at, 0.0, machine)
    method.after_step(outcome.update, at)
    return float(outcome.loss.detach())


def _timed(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def _row(name: str, plan: TrainingPlan, seconds_an_image: float) -> PlannedTraining:
    shown, batch_size = images_shown(plan), plan.recipe.batch_size
    return PlannedTraining(name, plan.images, shown // batch_size, batch_size, round(shown * seconds_an_image, 1))
