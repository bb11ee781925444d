"""A run as it was asked for: read the collection, settle every option, refuse what can't be done, then do it."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import faults, locks, machine, recipes
from ..artifacts import cache_folder, show
from ..book import ARITHMETIC, Book, check_common, check_folder, committed, expected
from ..config import changed, check, described, differences, leaves, unknown
from ..data.images import Images, open_images
from ..data.labelled import open_labelled
from ..dnc import DnC, divide_and_contrast
from ..errors import DataError, UsageError, WaitingError, few
from ..log import say
from ..nets.encoder import check_name
from ..nets.trained import Trained
from ..paths import Data
from ..recipes import Options, Recipe
from ..rivals import NMF, ClusterFit, Single, Supervised, clusterfit, nmf, single, supervised
from ..runs import Run
from ..stages import FEWEST
from .door import verb
from .refusals import refuse_what_fails_later
from .room import refuse_without_room
from .running import BEHAVIOUR, Behaviour, behaving
from .trying import check_encoders

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
class Order:
    """A run as it was asked for, with nothing left open."""

    folder: Path
    images: Images
    recipe: Recipe
    book: Book
    machine: machine.Machine
    cache: Path
    cache_gb: float
    save_every: float
    base: Path | None
    reasons: list[str]


@verb
def prepare(data: Data, out: str | Path, options: Mapping[str, Any]) -> Order:
    """Read the collection, settle every option, and refuse what can't be done, before anything is written."""
    folder = Path(out)
    check_folder(folder, data)
    typed = {key: value for key, value in options.items() if key not in BEHAVIOUR}
    behaviour = behaving(options)
    typed = _with_anothers(typed)
    short, dotted = _sorted_out(typed)
    cache, readers = cache_folder(behaviour.cache), behaviour.threads
    if short.encoder:
        check_name(short.encoder)
    recipes.named(short.recipe)
    images = open_images(
        data, include=short.include, exclude=short.exclude, near_duplicates=short.near_duplicates, limit=short.limit,
        cache=cache, threads=readers,
    )  # fmt: skip
    _refuse_a_disk_that_fails(images)
    chosen = _machine(folder, cache, short, behaviour)
    full, reasons = recipes.settled(short, len(images), chosen.device)
    recipe = changed(recipes.named(full.recipe).recipe(full, len(images)), dotted)
    base = _base(full.base, recipe)
    refuse_what_fails_later(recipe, base, len(images), asked_for_k="clusters.k" in dotted)
    with chosen.use():
        check_encoders(recipe)
    _try_labels(recipe, full, cache, readers)
    typed_smallest = dotted.get("clusters.smallest", FEWEST)
    if isinstance(recipe, DnC) and isinstance(typed_smallest, int) and typed_smallest < FEWEST:
        reasons.append(f"clusters.smallest {FEWEST}: an expert needs so many images")
    flat = {**described(full), **_flat(described(recipe))}
    book = Book(
        typed, flat, described(chosen), images.fingerprint, len(images), _stages(recipe), STAGES[type(recipe)][-1]
    )
    gb, every = behaviour.cache_gb, behaviour.save_every
    return Order(folder, images, recipe, book, chosen, cache, gb, every, base, reasons)


def carry_out(
    order: Order, *, only: str | None = None, steal_lock: bool = False, allow_collapse: bool = False
) -> tuple[list[str], bool]:  # fmt: skip
    """Do what is not done yet: which stages were done by this call, and whether all are now."""
    if only is not None and only.split("/")[0] not in STAGES[type(order.recipe)]:
        raise UsageError(unknown("stage", only, STAGES[type(order.recipe)]))
    _refuse_without_room(order, only)
    for reason in order.reasons:
        say(reason)
    run = Run(
        order.folder, order.machine, order.cache, cache_gb=order.cache_gb, save_every=order.save_every,
        only=only, taken={"base": order.base} if order.base else {}, steal_lock=steal_lock, allow_collapse=allow_collapse,
        changes=_meet_book(order, steal_lock),
    )  # fmt: skip
    try:
        PIPELINES[type(order.recipe)](run, order.images, order.recipe)
    except WaitingError:
        if not run.reached_only:
            raise
        return run.did, False
    if only is not None and not run.reached_only:
        raise UsageError(unknown("stage", only, expected(order.folder, order.book)))
    _close_book(order, steal_lock)
    if not run.did:
        say(f"nothing to do: every stage of {show(order.folder)} is done")
    return run.did, True


def _try_labels(recipe: Recipe, options: Options, cache: Path, threads: int | None) -> None:
    """Open the labeled folder, if one is named, so that what is wrong with it is said before anything is begun."""
    labels, split = options.labels, options.split
    if isinstance(recipe, DnC):
        labels, split = recipe.checks.labels, recipe.checks.split
    elif isinstance(recipe, Supervised):
        labels, split = recipe.truth.labels, recipe.truth.split
    if labels is not None:
        open_labelled(labels, split=split, cache=cache, threads=threads)


def _refuse_a_disk_that_fails(images: Images) -> None:
    """What could not be read now is there again later, and then this would be a run on part of the collection."""
    lost, found = images.index.reasons.get("io_error", 0), images.index.found
    if lost > UNREAD * found or images.index.lost_folders:
        raise DataError(
            f"{lost:,} of {found:,} files in {show(images.source.root)} could not be read (io_error): look whether the disk or "
            "the network is there, then type the same command again; or leave them out by exclude="
        )


def _refuse_without_room(order: Order, only: str | None) -> None:
    """Ask for the room of all stages that are not done, or of the one that is to be."""
    asked = [name for name in expected(order.folder, order.book) if only in (None, name, name.split("/")[0])]
    left = sum(not (order.folder / name / "stage.json").exists() for name in asked)
    refuse_without_room(order.folder, order.cache, order.recipe, order.images, left, order.cache_gb)


def _base(asked: str | None, recipe: Recipe) -> Path | None:
    """The folder of a base that another run has trained, if one is asked for and fits the recipe."""
    if asked is None:
        return None
    folder = Path(asked) / "base" if (Path(asked) / "run.json").exists() else Path(asked)
    base, wanted = Trained.load(folder), recipe.base
    theirs = {"encoder": base.spec.name, **described(base.sight)}
    differ = differences(theirs, {"encoder": wanted.encoder.name, **described(wanted.sight)})
    if differ:
        said = "; ".join(f"{name} is {its}, not {ours}" for name, its, ours in differ)
        raise UsageError(f"base={show(folder)} does not fit: its {said}. Type these options as that run had them")
    return folder


def _meet_book(order: Order, steal_lock: bool) -> str:
    """Write down what is asked for, where that costs nothing; else say what differs from what the run was begun with."""
    with locks.shortly(order.folder, steal=steal_lock):
        if not committed(order.folder):
            order.book.write(order.folder)
            faults.at("run.described")
            order.images.index.save(order.folder / "images")
            return ""
        before = Book.read(order.folder)
    check_common(before, order.book, order.folder)
    return few(before.changes(order.book), "; ")


def _close_book(order: Order, steal_lock: bool) -> None:
    """Write down what was asked for last, now that nothing was refused, and by which stages the run was finished."""
    with locks.shortly(order.folder, steal=steal_lock):
        order.book.with_done(order.folder).write(order.folder)


def _machine(folder: Path, cache: Path, options: Options, behaviour: Behaviour) -> machine.Machine:
    """The machine the run was begun on, as far as bits go; else a new choice."""
    now: dict[str, Any] = {"readers": behaviour.threads or machine.cores(), "keep_memory": behaviour.keep_memory}
    if (folder / "run.json").exists():
        book = Book.read(folder)
        begun = check(machine.Machine, book.machine)
        if all(getattr(options, name) == book.options.get(name) for name in ARITHMETIC):
            return dataclasses.replace(begun, **now)
    return machine.choose(cache, **now, **{name: getattr(options, name) for name in ARITHMETIC})


def _sorted_out(typed: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The short options, checked; and those that go by their dotted place in the recipe."""
    dotted = {key: value for key, value in typed.items() if "." in key}
    known = [*leaves(Options), *BEHAVIOUR]
    for key in typed:
        if "." not in key and key not in known:
            raise UsageError(unknown("option", key, sorted(known)))
    return check(Options, {key: value for key, value in typed.items() if "." not in key}), dotted


def _with_anothers(typed: dict[str, Any]) -> dict[str, Any]:
    """`recipe=RUN` means as that run was asked for, but for what is typed now."""
    book = Path(str(typed.get("recipe", ""))) / "run.json"
    if "recipe" not in typed or not book.is_file():
        return typed
    return {**Book.read(book.parent).typed, **{key: value for key, value in typed.items() if key != "recipe"}}


def _flat(node: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {place: node}
    return {
        key: value for name, below in node.items() for key, value in _flat(below, f"{place}.{name}".lstrip(".")).items()
    }


def _stages(recipe: Recipe) -> list[str]:
    experts = [f"experts/{i}" for i in range(recipe.clusters.k)] if isinstance(recipe, DnC) else []
    return [name for stage in STAGES[type(recipe)] for name in (experts if stage == "experts" else [stage])]
