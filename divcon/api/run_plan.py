"""Prepare a run (read the collection, settle every option, refuse what can't be done), then do it."""

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import dist, failpoints, machine, recipes
from ..config import differences, option_names, to_json_value, unknown_name, validate_fields, with_options
from ..data.images import Images, open_images, open_indexed_images
from ..data.labeled.labeled import open_labeled
from ..errors import DataError, UsageError, WaitingError, few
from ..files.caches import cache_folder
from ..files.integrity import mismatches
from ..files.paths import Data, absolute_paths
from ..files.text import printable
from ..log import info, warning
from ..loggers.logged import logged
from ..nets.encoder import check_name
from ..nets.trained import Trained
from ..pipelines.recipe import Recipe, pipeline_of, stages_of
from ..recipes import Options
from ..runs import owner
from ..runs.folder import MANIFEST, RunFolder
from ..runs.pace import Pace
from ..runs.recorder import PlannedStage
from ..runs.records import ARITHMETIC, RunRecord
from ..runs.refusals import check_common, has_progress, refuse_foreign_folder
from ..runs.run import Run
from .auto_ranks import with_auto_ranks
from .behavior import BEHAVIOR, Behavior, behavior_of, recipe_options
from .call import Call
from .disk_space import refuse_without_room
from .entry import runs_alone
from .preflight import refuse_what_fails_later
from .run_summary import named_scores
from .work import plan_work_of, planned_work

RANKS = {
    "expert.ranks": "expert_ranks"
}  # typed like an option of the experts' recipe; it is none: it changes no key of a stage
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
    typed = _with_anothers(recipe_options(options))
    short, dotted = _sorted_out({**typed, **{key: options[key] for key in ("ranks",) if key in options}})
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
        {**_without_ranks(to_json_value(full)), **_flat(to_json_value(recipe))},
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


def begin(run_plan: RunPlan, call: Call) -> str:
    """Write the record of a run without progress. For one with progress, return the options that differ, in words."""
    groups = list(dict.fromkeys(stage.group for stage in run_plan.stages))
    if call.only is not None and call.only.split("/")[0] not in groups:
        raise UsageError(unknown_name("stage", call.only, groups))
    _refuse_without_room(run_plan, call.only)
    for reason in run_plan.reasons:
        info(reason)
    return _meet_record(run_plan, call.steal_lock)


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


def refuse_other_ranks(run_plan: RunPlan, only: str | None) -> None:
    """UsageError, if this run was begun on another number of ranks than there are: they would round differently."""
    needed, there = ranks_needed(run_plan, only), dist.world_size()
    if needed != there:
        raise UsageError(
            f"{printable(run_plan.folder)} was begun on {needed} ranks, and these are {there}; start {needed}, or use another "
            "folder (out=...)"
        )


def execute(run_plan: RunPlan, changes: str, call: Call) -> tuple[list[str], bool]:
    """Do what is not done yet; return the stages that were done by this call, and True if all are done now.

    `changes` are the options that differ from those of the begun run, in words. All ranks call this together.
    """
    pace = _pace(run_plan, call.only)
    run = Run(
        run_plan.folder,
        run_plan.machine,
        run_plan.cache,
        cache_gb=run_plan.cache_gb,
        save_every=run_plan.save_every,
        only=call.only,
        taken=run_plan.taken,
        steal_lock=call.steal_lock,
        allow_collapse=call.allow_collapse,
        changes=changes,
        pace=pace,
    )
    try:
        with pace.shown(), logging_to(run_plan):
            pipeline_of(run_plan.recipe)(run, run_plan.images, run_plan.recipe)
    except WaitingError:
        if not run.reached_only:
            raise
        return run.did, False
    if call.only is not None and not run.reached_only:
        raise UsageError(unknown_name("stage", call.only, RunRecord.read(run_plan.folder).expected_stages()))
    dist.on_leader(lambda: _close_record(run_plan, call.steal_lock))
    if not run.did and dist.is_leader():
        info(f"nothing to do: every stage of {printable(run_plan.folder)} is done")
    return run.did, True


def logging_to(run_plan: RunPlan) -> contextlib.AbstractContextManager[None]:
    """Send the numbers of the run to its loggers."""
    folder = run_plan.folder
    return logged(folder, run_plan.loggers, run_plan.record.options, lambda: named_scores(folder))


def _pace(run_plan: RunPlan, only: str | None) -> Pace:
    """The progress of the run, of which nothing is done yet; with `only`, of the stage or the group of this name."""
    n = len(run_plan.images)
    planned = planned_work(run_plan.stages, n)
    return Pace(planned, chosen=lambda name: only in (None, name, name.split("/")[0]), plan_work=plan_work_of(n))


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


def _refuse_without_room(run_plan: RunPlan, only: str | None) -> None:
    """DiskError, if there is no room for the stages that are not done, or for the stage `only`."""
    run = RunFolder(run_plan.folder)
    expected = RunRecord.read(run.path).expected_stages() if run.is_run else run_plan.record.stages
    left = [
        stage
        for stage in run_plan.stages
        if stage.name in expected and only in (None, stage.name, stage.group) and not run.stage(stage.name).is_done
    ]
    input_spec = run_plan.recipe.base.input_spec
    refuse_without_room(run.path, run_plan.cache, left, run_plan.images, input_spec, run_plan.cache_gb)


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


def _meet_record(run_plan: RunPlan, steal_lock: bool) -> str:
    """Write the record of a run without progress. For one with progress, return the options that differ, in words."""
    with owner.owned_briefly(run_plan.folder, steal=steal_lock):
        if not has_progress(run_plan.folder):
            run_plan.record.write(run_plan.folder)
            failpoints.at("run.described")
            run_plan.images.save_index(RunFolder(run_plan.folder).images)
            return ""
        before = RunRecord.read(run_plan.folder)
        check_common(before, run_plan.record, run_plan.folder)
        _mend_index(run_plan)
        run_plan.images.note_source()
    return few(before.changes(run_plan.record), "; ")


def _mend_index(run_plan: RunPlan) -> None:
    """Write the index of the collection again, if its files in the run are damaged: the images are those that it lists."""
    folder = RunFolder(run_plan.folder).images
    damage = mismatches(folder / MANIFEST)
    if damage and not any(
        path.is_dir() for path in folder.glob("*")
    ):  # a folder in place of a file is not ours to remove
        warning(f"{few(damage, '; ')}. The index is written again")
        run_plan.images.save_index(folder)


def _close_record(run_plan: RunPlan, steal_lock: bool) -> None:
    """Write the record of the finished run, with the hashes of its stages."""
    with owner.owned_briefly(run_plan.folder, steal=steal_lock):
        groups = RunRecord.read(run_plan.folder).groups
        replace(run_plan.record, groups=groups).with_done(run_plan.folder).write(run_plan.folder)


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


def _without_ranks(options: dict[str, Any]) -> dict[str, Any]:
    """The options without those that are kept with the machine."""
    return {name: value for name, value in options.items() if name not in ("ranks", "expert_ranks")}


def _sorted_out(typed: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The short options, checked; and the options with dotted names, like `base.lr`."""
    short = {RANKS.get(key, key): value for key, value in typed.items() if "." not in key or key in RANKS}
    dotted = {key: value for key, value in typed.items() if "." in key and key not in RANKS}
    known = [*option_names(Options), *BEHAVIOR]
    for key in short:
        if key not in known:
            raise UsageError(unknown_name("option", key, sorted(known)))
    return validate_fields(Options, short), dotted


def _with_anothers(typed: dict[str, Any]) -> dict[str, Any]:
    """Replace `recipe=RUN` by the options of that run; options that are typed now win."""
    run = RunFolder(Path(str(typed.get("recipe", ""))))
    if "recipe" not in typed or not run.record.is_file():
        return typed
    return {**RunRecord.read(run.path).typed, **{key: value for key, value in typed.items() if key != "recipe"}}


def _flat(node: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {place: node}
    return {
        key: value for name, below in node.items() for key, value in _flat(below, f"{place}.{name}".lstrip(".")).items()
    }
