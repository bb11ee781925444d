"""A run as it was asked for: read the collection, settle every option, refuse what can't be done, then do it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import failpoints, machine, recipes
from ..config import differences, option_names, to_json_value, unknown_name, validate_fields, with_options
from ..data.images import Images, open_images
from ..data.labeled.labeled import open_labeled
from ..errors import DataError, UsageError, WaitingError, few
from ..files.caches import cache_folder
from ..files.paths import Data
from ..files.text import printable
from ..log import info
from ..nets.encoder import check_name
from ..nets.trained import Trained
from ..pipelines.clusterfit import ClusterFit, clusterfit
from ..pipelines.dnc import DnC, divide_and_contrast
from ..pipelines.nmf import NMF, nmf
from ..pipelines.single import Single, single
from ..pipelines.supervised import Supervised, supervised
from ..recipes import Options, Recipe
from ..runs import owner
from ..runs.records import ARITHMETIC, RunRecord, check_common, expected_stages, has_progress, refuse_foreign_folder
from ..runs.run import Run
from ..stages.learning import FEWEST
from .disk_space import refuse_without_room
from .encoder_check import check_encoders
from .entry import runs_alone
from .preflight import refuse_what_fails_later
from .run import BEHAVIOR, Behavior, behaving

UNREAD = 0.01  # of the files: so many may be lost to a disk that fails
STAGES: dict[type, list[str]] = {
    DnC: ["base", "clusters", "experts", "checks", "student"],
    ClusterFit: ["base", "clusters", "refit"],
    **{kind: ["base"] for kind in (Single, Supervised, NMF)},
}
PIPELINES: dict[type, Callable[[Run, Images, Any], Trained]] = {
    DnC: divide_and_contrast,
    ClusterFit: clusterfit,
    Single: single,
    Supervised: supervised,
    NMF: nmf,
}


@dataclass(frozen=True)
class RunPlan:
    """A run as it was asked for, with nothing left open."""

    folder: Path
    images: Images
    recipe: Recipe
    record: RunRecord
    machine: machine.Machine
    cache: Path
    cache_gb: float
    save_every: float
    base: Path | None
    reasons: list[str]


@runs_alone
def prepare_run(data: Data, out: str | Path, options: Mapping[str, Any]) -> RunPlan:
    """Read the collection, settle every option, and refuse what can't be done, before anything is written."""
    folder = Path(out)
    refuse_foreign_folder(folder, data)
    typed = {key: value for key, value in options.items() if key not in BEHAVIOR}
    behavior = behaving(options)
    typed = _with_anothers(typed)
    short, dotted = _sorted_out(typed)
    cache, workers = cache_folder(behavior.cache), behavior.workers
    if short.encoder:
        check_name(short.encoder)
    recipes.named(short.recipe)
    images = open_images(
        data,
        include=short.include,
        exclude=short.exclude,
        near_duplicates=short.near_duplicates,
        limit=short.limit,
        cache=cache,
        workers=workers,
    )
    _refuse_a_disk_that_fails(images)
    chosen = _machine(folder, cache, short, behavior)
    full, reasons = recipes.settled(short, len(images), chosen.device)
    recipe = with_options(recipes.named(full.recipe).recipe(full, len(images)), dotted)
    base = _base(full.base, recipe)
    refuse_what_fails_later(recipe, base, len(images), asked_for_k="clusters.k" in dotted)
    with chosen.use():
        check_encoders(recipe)
    _try_labels(recipe, full, cache, workers)
    typed_smallest = dotted.get("clusters.smallest", FEWEST)
    if isinstance(recipe, DnC) and isinstance(typed_smallest, int) and typed_smallest < FEWEST:
        reasons.append(f"clusters.smallest {FEWEST}: an expert needs so many images")
    flat = {**to_json_value(full), **_flat(to_json_value(recipe))}
    record = RunRecord(
        typed, flat, to_json_value(chosen), images.fingerprint, len(images), _stages(recipe), STAGES[type(recipe)][-1]
    )
    gb, every = behavior.cache_gb, behavior.save_every
    return RunPlan(folder, images, recipe, record, chosen, cache, gb, every, base, reasons)


def execute(
    order: RunPlan, *, only: str | None = None, steal_lock: bool = False, allow_collapse: bool = False
) -> tuple[list[str], bool]:
    """Do what is not done yet: which stages were done by this call, and whether all are now."""
    if only is not None and only.split("/")[0] not in STAGES[type(order.recipe)]:
        raise UsageError(unknown_name("stage", only, STAGES[type(order.recipe)]))
    _refuse_without_room(order, only)
    for reason in order.reasons:
        info(reason)
    run = Run(
        order.folder,
        order.machine,
        order.cache,
        cache_gb=order.cache_gb,
        save_every=order.save_every,
        only=only,
        taken={"base": order.base} if order.base else {},
        steal_lock=steal_lock,
        allow_collapse=allow_collapse,
        changes=_meet_book(order, steal_lock),
    )
    try:
        PIPELINES[type(order.recipe)](run, order.images, order.recipe)
    except WaitingError:
        if not run.reached_only:
            raise
        return run.did, False
    if only is not None and not run.reached_only:
        raise UsageError(unknown_name("stage", only, expected_stages(order.folder, order.record)))
    _close_book(order, steal_lock)
    if not run.did:
        info(f"nothing to do: every stage of {printable(order.folder)} is done")
    return run.did, True


def _try_labels(recipe: Recipe, options: Options, cache: Path, workers: int | None) -> None:
    """Open the labeled folder, if one is named, so that what is wrong with it is said before anything is begun."""
    labels, split = options.labels, options.split
    if isinstance(recipe, DnC):
        labels, split = recipe.checks.labels, recipe.checks.split
    elif isinstance(recipe, Supervised):
        labels, split = recipe.truth.labels, recipe.truth.split
    if labels is not None:
        open_labeled(labels, split=split, cache=cache, workers=workers)


def _refuse_a_disk_that_fails(images: Images) -> None:
    """What could not be read now is there again later, and then this would be a run on part of the collection."""
    lost, found = images.index.reasons.get("io_error", 0), images.index.found
    if lost > UNREAD * found or images.index.lost_folders:
        raise DataError(
            f"{lost:,} of {found:,} files in {printable(images.source.root)} could not be read (io_error): look whether the disk or "
            "the network is there, then type the same command again; or leave them out by exclude="
        )


def _refuse_without_room(order: RunPlan, only: str | None) -> None:
    """Ask for the room of all stages that are not done, or of the one that is to be."""
    asked = [name for name in expected_stages(order.folder, order.record) if only in (None, name, name.split("/")[0])]
    left = sum(not (order.folder / name / "stage.json").exists() for name in asked)
    refuse_without_room(order.folder, order.cache, order.recipe, order.images, left, order.cache_gb)


def _base(asked: str | None, recipe: Recipe) -> Path | None:
    """The folder of a base that another run has trained, if one is asked for and fits the recipe."""
    if asked is None:
        return None
    folder = Path(asked) / "base" if (Path(asked) / "run.json").exists() else Path(asked)
    base, wanted = Trained.load(folder), recipe.base
    theirs = {"encoder": base.spec.name, **to_json_value(base.input_spec)}
    differ = differences(theirs, {"encoder": wanted.encoder.name, **to_json_value(wanted.input_spec)})
    if differ:
        said = "; ".join(f"{name} is {its}, not {ours}" for name, its, ours in differ)
        raise UsageError(f"base={printable(folder)} does not fit: its {said}. Type these options as that run had them")
    return folder


def _meet_book(order: RunPlan, steal_lock: bool) -> str:
    """Write down what is asked for, where that costs nothing; else say what differs from what the run was begun with."""
    with owner.owned_briefly(order.folder, steal=steal_lock):
        if not has_progress(order.folder):
            order.record.write(order.folder)
            failpoints.at("run.described")
            order.images.index.save(order.folder / "images")
            return ""
        before = RunRecord.read(order.folder)
    check_common(before, order.record, order.folder)
    return few(before.changes(order.record), "; ")


def _close_book(order: RunPlan, steal_lock: bool) -> None:
    """Write down what was asked for last, now that nothing was refused, and by which stages the run was finished."""
    with owner.owned_briefly(order.folder, steal=steal_lock):
        order.record.with_done(order.folder).write(order.folder)


def _machine(folder: Path, cache: Path, options: Options, behavior: Behavior) -> machine.Machine:
    """The machine the run was begun on, as far as bits go; else a new choice."""
    now: dict[str, Any] = {
        "workers": behavior.workers or machine.available_cores(),
        "keep_memory": behavior.keep_memory,
    }
    if (folder / "run.json").exists():
        record = RunRecord.read(folder)
        begun = validate_fields(machine.Machine, record.machine)
        if all(getattr(options, name) == record.options.get(name) for name in ARITHMETIC):
            return dataclasses.replace(begun, **now)
    return machine.choose(cache, **now, **{name: getattr(options, name) for name in ARITHMETIC})


def _sorted_out(typed: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The short options, checked; and those that go by their dotted place in the recipe."""
    dotted = {key: value for key, value in typed.items() if "." in key}
    known = [*option_names(Options), *BEHAVIOR]
    for key in typed:
        if "." not in key and key not in known:
            raise UsageError(unknown_name("option", key, sorted(known)))
    return validate_fields(Options, {key: value for key, value in typed.items() if "." not in key}), dotted


def _with_anothers(typed: dict[str, Any]) -> dict[str, Any]:
    """`recipe=RUN` means as that run was asked for, but for what is typed now."""
    record = Path(str(typed.get("recipe", ""))) / "run.json"
    if "recipe" not in typed or not record.is_file():
        return typed
    return {**RunRecord.read(record.parent).typed, **{key: value for key, value in typed.items() if key != "recipe"}}


def _flat(node: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {place: node}
    return {
        key: value for name, below in node.items() for key, value in _flat(below, f"{place}.{name}".lstrip(".")).items()
    }


def _stages(recipe: Recipe) -> list[str]:
    experts = [f"experts/{i}" for i in range(recipe.clusters.k)] if isinstance(recipe, DnC) else []
    return [name for stage in STAGES[type(recipe)] for name in (experts if stage == "experts" else [stage])]
