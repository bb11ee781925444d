"""Prepare a run: read the collection, settle every option, and refuse what can't be done."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import machine, recipes
from ..config import differences, to_json_value, validate_fields, with_options
from ..data.images import Images, open_images, open_indexed_images
from ..data.labeled.labeled import open_labeled
from ..errors import DataError, UsageError
from ..files.caches import cache_folder
from ..files.paths import Data, absolute_paths
from ..files.text import printable
from ..nets.encoder import check_name
from ..nets.trained import Trained
from ..pipelines.recipe import Recipe, stages_of
from ..recipes import Options
from ..runs.folder import RunFolder
from ..runs.recorder import PlannedStage
from ..runs.records import ARITHMETIC, RunRecord
from ..runs.refusals import refuse_foreign_folder
from .auto_ranks import with_auto_ranks
from .behavior import Behavior, behavior_of, recipe_options
from .entry import runs_alone
from .preflight import refuse_what_fails_later
from .run_options import flat, sorted_out, with_anothers, without_ranks

UNREAD = 0.01  # of the files: so many may be lost to a disk that fails


@dataclass(frozen=True)
class RunPlan:
    """A run with every option settled."""

    folder: Path
    images: Images
    recipe: Recipe
    record: RunRecord
    machine: machine.Machine
    cache: Path
    cache_gb: float
    save_every: float
    loggers: list[str]
    base: Path | None
    stages: list[PlannedStage]
    reasons: list[str]

    @property
    def taken(self) -> dict[str, Path]:
        """The stages that come from another run, with their folders there."""
        return {"base": self.base} if self.base else {}


@runs_alone
def prepare_run(data: Data, out: str | Path, options: Mapping[str, Any], *, indexed: Images | None = None) -> RunPlan:
    """Read the collection, settle every option, and refuse what can't be done, before anything is written.

    With `indexed` images, another process has read the collection and refused what can't be done.
    """
    folder = Path(out)
    refuse_foreign_folder(folder, data)
    behavior = behavior_of(options)
    loggers = behavior.loggers
    typed = with_anothers(recipe_options(options))
    short, dotted = sorted_out({**typed, **{key: options[key] for key in ("ranks",) if key in options}})
    cache = cache_folder(behavior.cache)
    images = indexed or _open(data, short, cache, behavior.workers, RunFolder(folder).images)
    machine = _machine(folder, cache, short, behavior)
    full, reasons = recipes.settled(short, len(images), machine.device)
    recipe: Recipe = with_options(recipes.named(full.recipe).recipe(full, len(images)), dotted)
    base = _base(full.base, recipe)
    if indexed is None:
        with machine.use():
            refuse_what_fails_later(recipe, Trained.load(base) if base else None, len(images), {*dotted}, machine)
        _try_labels(recipe, full, cache, behavior.workers)
    stages = stages_of(recipe, images, machine, cache, {"base": base} if base else {})
    if short.ranks == "auto" and not RunFolder(folder).is_run:
        machine = with_auto_ranks(machine, recipe, stages, cache)
    record = RunRecord(
        typed,
        {**without_ranks(to_json_value(full)), **flat(to_json_value(recipe))},
        to_json_value(machine),
        images.fingerprint,
        len(images),
        [stage.name for stage in stages],
        stages[-1].name,
        data=absolute_paths(data),
    )
    return RunPlan(
        folder,
        images,
        recipe,
        record,
        machine,
        cache,
        behavior.cache_gb,
        behavior.save_every,
        loggers,
        base,
        stages,
        [*reasons, *recipe.changed_by(dotted)],
    )


def follow(folder: Path, options: Mapping[str, Any]) -> RunPlan:
    """Return the plan of a run that another process has begun: its images are those of the index in its folder."""
    record = RunRecord.read(folder)
    cache = cache_folder(behavior_of(options).cache)
    return prepare_run(
        record.data, folder, options, indexed=open_indexed_images(record.data, RunFolder(folder).images, cache)
    )


def ranks_needed(run_plan: RunPlan, only: str | None) -> int:
    """The number of ranks that do the run, or the stage `only`: an expert has its own."""
    return run_plan.machine.expert_ranks if is_one_of_group(only) else run_plan.machine.ranks


def is_one_of_group(only: str | None) -> bool:
    """True if `only` names a single member of a group of stages, like experts/3."""
    return only is not None and "/" in only


def _open(data: Data, options: Options, cache: Path, workers: int | None, known: Path) -> Images:
    """Open the images, after the names in the options are checked: a scan may take long."""
    if options.encoder:
        check_name(options.encoder)
    recipes.named(options.recipe)
    images = open_images(
        data,
        include=options.include,
        exclude=options.exclude,
        near_duplicates=options.near_duplicates,
        limit=options.limit,
        cache=cache,
        workers=workers,
        known=known,
    )
    _refuse_a_disk_that_fails(images)
    return images


def _try_labels(recipe: Recipe, options: Options, cache: Path, workers: int | None) -> None:
    """Open the labeled folder, if one is named, so that its errors are raised before any work."""
    for part in recipe.labeled_folders() or [options]:
        if part.labels is not None:
            open_labeled(part.labels, split=part.split, cache=cache, workers=workers)


def _refuse_a_disk_that_fails(images: Images) -> None:
    """DataError, where many files could not be read: the run would be on a part of the collection without anyone knowing."""
    lost, found = images.index.reasons.get("io_error", 0), images.index.found
    if lost > UNREAD * found or images.index.lost_folders:
        raise DataError(
            f"{lost:,} of {found:,} files in {printable(images.source.root)} could not be read (io_error): look whether the disk or "
            "the network is there, then type the same command again; or leave them out by exclude="
        )


def _base(asked: str | None, recipe: Recipe) -> Path | None:
    """The folder of a base that another run has trained, if one is asked for and fits the recipe."""
    if asked is None:
        return None
    folder = Path(asked) / "base" if RunFolder(Path(asked)).is_run else Path(asked)
    base, wanted = Trained.load(folder), recipe.base
    theirs = {"encoder": base.spec.name, **to_json_value(base.input_spec)}
    differ = differences(theirs, {"encoder": wanted.encoder.name, **to_json_value(wanted.input_spec)})
    if differ:
        said = "; ".join(f"{name} is {its}, not {ours}" for name, its, ours in differ)
        raise UsageError(f"base={printable(folder)} does not fit: its {said}. Type these options as that run had them")
    return folder


def _machine(folder: Path, cache: Path, options: Options, behavior: Behavior) -> machine.Machine:
    """The machine with the arithmetic that the run began with; for a new run, the one that is chosen now."""
    if RunFolder(folder).is_run:
        record = RunRecord.read(folder)
        begun = validate_fields(machine.Machine, record.machine)
        same_ranks = options.ranks in (None, "auto", begun.ranks) and options.expert_ranks in (None, begun.expert_ranks)
        if same_ranks and all(getattr(options, name) == record.options.get(name) for name in ARITHMETIC):
            workers = behavior.workers or machine.default_workers(begun.device)
            return dataclasses.replace(begun, workers=workers, keep_memory=behavior.keep_memory)
    arithmetic = {name: getattr(options, name) for name in ARITHMETIC}
    return machine.choose(
        cache,
        workers=behavior.workers,
        keep_memory=behavior.keep_memory,
        ranks=options.ranks,
        expert_ranks=options.expert_ranks or 1,
        **arithmetic,
    )
