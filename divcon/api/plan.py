"""Plan a run before anything is done: each kind of stage is tried on a few images, the rest is arithmetic."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..answers import Answer
from ..config import Json, unknown_name, validate_json_types
from ..data.pixels.pixel_cache import pixel_folder
from ..errors import UsageError
from ..evals.expert_check import ExpertCheck
from ..files.paths import Data
from ..runs.recorder import PlannedStage
from ..stages.cluster import Divide
from ..stages.learning import EncodingPlan, NetworkTraining, TrainingPlan
from .behavior import behavior_of, wants_report
from .disk_space import disk_bytes, free_bytes, pixel_bytes
from .entry import runs_alone
from .expert_waves import seconds_on_groups
from .flops import encode_passes
from .memory import machine_bytes
from .run_plan import RunPlan, prepare_run, ranks_needed
from .trial import Amount, Trial
from .trials import Trials, try_on_ranks, try_stages
from .work import images_shown

MB = 1e6


@dataclass(frozen=True)
class StageCost(Answer):
    """A stage of a plan: the images that it works on, the expected seconds, the processor seconds of all its processes, and the
    memory of all of them. A training has a number of steps and a batch size; on GPUs there is the memory of one."""

    stage: str
    images: int
    seconds: float
    cpu_seconds: float
    memory_mb: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    gpu_mb: float | None = None


@dataclass(frozen=True)
class PlanAnswer(Answer):
    """The answer of `plan`: the images, the processes, and each stage; the seconds and the processor seconds of all, the largest
    memory of all processes together, the decoded pixels that they map besides, and the memory of this machine; the disk space
    that is needed and free; the reasons for options that were chosen, and the machine."""

    images: int
    processes: int
    stages: list[StageCost]
    seconds: float
    cpu_seconds: float
    memory_mb: float
    mapped_mb: float
    machine_mb: float
    disk_mb: float
    free_mb: float
    why: list[str]
    machine: dict[str, Json]
    gpu_mb: float | None = None


TryStages = Callable[[RunPlan, Sequence[str]], Trials]


@runs_alone
def plan(data: Data, *, out: str | Path, only: str | None = None, **options: Any) -> PlanAnswer:
    """Return what `run` with these arguments would do: for each stage (or for the stage `only`) the images, steps, batch size,
    expected seconds and memory; the disk space that is needed and free. Nothing is written into `out`."""
    options = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}  # as if typed
    validate_json_types(options)
    run_plan = prepare_run(data, out, options)

    def on_ranks(run_plan: RunPlan, groups: Sequence[str]) -> Trials:
        return try_on_ranks(run_plan, data, options, groups)

    try_them = on_ranks if ranks_needed(run_plan, only) > 1 else try_stages
    return cost_of(run_plan, only, try_them, report=wants_report(behavior_of(options)))


def cost_of(
    run_plan: RunPlan, only: str | None = None, try_them: TryStages = try_stages, *, report: bool = False
) -> PlanAnswer:
    """The answer of `plan` for a prepared run, whose stages `try_them` tries; with a `report` at the end, it says that this is
    not counted."""
    _refuse_unknown(run_plan, only)
    chosen, processes = _chosen(run_plan, only), ranks_needed(run_plan, only)
    new = [stage for stage in chosen if stage.name not in run_plan.taken]
    trials = try_them(run_plan, list(dict.fromkeys(stage.group for stage in new)))
    rows = [*_pixel_rows(run_plan, trials), *(_row(run_plan, stage, trials, processes) for stage in new)]
    input_spec = run_plan.recipe.base.input_spec
    return PlanAnswer(
        images=len(run_plan.images),
        processes=processes,
        stages=rows,
        seconds=round(trials.start.clock + _seconds_in_all(run_plan, rows), 1),
        cpu_seconds=round(trials.start.processor + sum(row.cpu_seconds for row in rows), 1),
        memory_mb=max((row.memory_mb or 0.0 for row in rows), default=0.0),
        mapped_mb=_mb(_kept_pixels(run_plan)),
        machine_mb=_mb(machine_bytes()),
        disk_mb=_mb(disk_bytes(chosen, run_plan.images, input_spec, run_plan.cache_gb)),
        free_mb=_mb(free_bytes(run_plan.folder)),
        why=[*run_plan.reasons, *_assumptions(run_plan, trials, report)],
        machine=run_plan.record.machine,
        gpu_mb=max((row.gpu_mb for row in rows if row.gpu_mb), default=None),
    )


def _chosen(run_plan: RunPlan, only: str | None) -> list[PlannedStage]:
    return [stage for stage in run_plan.stages if only in (None, stage.name, stage.group)]


def _kept_pixels(run_plan: RunPlan) -> float:
    """The bytes of the pixel cache; 0 if the images are decoded each time."""
    size = pixel_bytes(run_plan.images.whole(), run_plan.recipe.base.input_spec.short_side)
    return size if size <= run_plan.cache_gb * 1e9 else 0.0


def _seconds_in_all(run_plan: RunPlan, rows: Sequence[StageCost]) -> float:
    """The seconds of all stages; parts of the ranks do members of a group side by side."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.stage.split("/")[0], []).append(row.seconds)
    parts = run_plan.machine.ranks // run_plan.machine.expert_ranks
    return sum(seconds_on_groups(each, parts) for each in groups.values())


def _refuse_unknown(run_plan: RunPlan, only: str | None) -> None:
    known = [*(stage.name for stage in run_plan.stages), *(stage.group for stage in run_plan.stages)]
    if only is not None and only not in known:
        raise UsageError(unknown_name("stage", only, [stage.name for stage in run_plan.stages]))


def _assumptions(run_plan: RunPlan, trials: Trials, report: bool) -> list[str]:
    """The assumptions of the plan: the number and the sizes of clusters are not known yet; and what it leaves out."""
    n, assumed = len(run_plan.images), []
    for name, division in run_plan.recipe.parts(Divide):
        k, smallest = division.remaining(n), division.smallest
        fewer = f"; {k} of {division.k} can have {smallest:,} images" if k < division.k else ""
        merged = ", and how many will be merged for being small," if smallest > 1 else ""
        assumed.append(f"{name} {k}, all of a size: how large they will be{merged} is not known yet{fewer}")
    left_out = ["the first seconds of the command"]
    left_out += [f"labeled images in {name}" for name, check in run_plan.recipe.parts(ExpertCheck) if check.labels]
    left_out += ["the report at the end (report=false: none)"] * report
    left_out += [f"k-means within {group}" for group, trial in trials.stages.items() if trial.clusters]
    return [*assumed, f"not counted: {', '.join(left_out)}"]


def _pixel_rows(run_plan: RunPlan, trials: Trials) -> list[StageCost]:
    """The pixel cache, if it is still to be written."""
    images, side = run_plan.images.whole(), run_plan.recipe.base.input_spec.short_side
    if not _kept_pixels(run_plan) or pixel_folder(images, side, run_plan.cache).exists():
        return []
    return [_cost("pixels", len(images), trials.pixel * len(images))]


def _row(run_plan: RunPlan, stage: PlannedStage, trials: Trials, processes: int) -> StageCost:
    """The cost of a stage. What the leader does alone, the other processes wait for; members of a group are trained side by side,
    so that all processes work."""
    plan, trial = stage.encoding or stage.training, trials.stages[stage.group]
    assert isinstance(plan, TrainingPlan | EncodingPlan)
    ranks = 1 if plan.by_leader else ranks_needed(run_plan, stage.name)
    working = 1 if plan.by_leader else processes
    memory = working * trial.memory + (processes - working) * trials.waiting + trials.launcher
    held = {"memory_mb": _mb(memory), "gpu_mb": _mb(trial.gpu) if trial.gpu else None}
    if isinstance(plan, EncodingPlan):
        each = trial.image * (plan.encoded / ranks) + trial.step
        return _cost(stage.name, plan.images, each, ranks, **held)
    plan = plan.on_ranks(ranks)
    steps = images_shown(plan) // plan.recipe.batch_size
    each = trial.step * steps + trial.image * ((plan.encoded + _encoded_between_epochs(plan, trial)) / ranks)
    return _cost(stage.name, plan.images, each, ranks, steps=steps, batch_size=plan.recipe.batch_size, **held)


def _encoded_between_epochs(plan: TrainingPlan, trial: Trial) -> float:
    """The images that a method encodes before its epochs, in all."""
    if not trial.clusters or plan.method is None or not isinstance(plan.recipe, NetworkTraining):
        return 0.0
    return plan.images * encode_passes(plan.recipe, plan.method, images_shown(plan) / plan.images)


def _cost(stage: str, images: int, each: Amount, ranks: int = 1, **more: Any) -> StageCost:
    """The cost of a stage that takes `each` of its ranks so much."""
    return StageCost(stage, images, round(each.clock, 1), round(ranks * each.processor, 1), **more)


def _mb(count: float) -> float:
    return round(count / MB, 1)
