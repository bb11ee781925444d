"""A run as it was asked for: read the collection, settle every option, refuse what can't be done, then do it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import machine, recipes, runs
from ..artifacts import cache_folder, show
from ..config import changed, check, described, leaves, unknown
from ..data.images import Folder, open_images
from ..dnc import DnC, divide_and_contrast
from ..errors import UsageError, WaitingError
from ..log import say
from ..nets.encoder import check_name
from ..recipes import Options, Recipe
from ..rivals import Single, single
from ..runs import Book, Run
from .running import BEHAVIOUR

PIPELINES = {DnC: divide_and_contrast, Single: single}
STAGES = {DnC: ["base", "clusters", "experts", "checks", "student"], Single: ["base"]}


@dataclass(frozen=True)
class Order:
    """A run as it was asked for, with nothing left open."""

    folder: Path
    images: Folder
    recipe: Recipe
    book: Book
    machine: machine.Machine
    cache: Path
    cache_gb: float
    save_every: float
    base: str | None
    reasons: list[str]


def prepare(data: str | Path, out: str | Path, options: Mapping[str, Any]) -> Order:
    """Read the collection, settle every option, and refuse what can't be done, before anything is written."""
    folder = Path(out)
    runs.check_folder(folder)
    typed = {key: value for key, value in options.items() if key not in BEHAVIOUR}
    behaviour = {key: value for key, value in options.items() if key in BEHAVIOUR}
    typed = _with_anothers(typed)
    short, dotted = _sorted_out(typed)
    cache, readers = cache_folder(behaviour.get("cache")), behaviour.get("threads")
    if short.encoder:
        check_name(short.encoder)
    recipes.named(short.recipe)
    images = open_images(
        data, include=short.include, exclude=short.exclude, limit=short.limit, cache=cache, threads=readers
    )  # fmt: skip
    chosen = _machine(folder, cache, short, readers)
    full, reasons = recipes.settled(short, len(images), chosen.device)
    recipe = changed(recipes.named(full.recipe).recipe(full, len(images)), dotted)
    flat = {**described(full), **_flat(described(recipe))}
    book = Book(
        typed, flat, machine.as_json(chosen), images.fingerprint, len(images), _stages(recipe), STAGES[type(recipe)][-1]
    )
    gb, every = float(behaviour.get("cache_gb", 8)), float(behaviour.get("save_every", 30))
    return Order(folder, images, recipe, book, chosen, cache, gb, every, full.base, reasons)


def carry_out(order: Order, *, only: str | None = None, steal_lock: bool = False) -> tuple[list[str], bool]:
    """Do what is not done yet: which stages were done by this call, and whether all are now."""
    explain = _meet_book(order)
    if only is not None and only.split("/")[0] not in STAGES[type(order.recipe)]:
        raise UsageError(unknown("stage", only, STAGES[type(order.recipe)]))
    _keep_index(order)
    taken = {"base": Path(order.base)} if order.base else {}
    run = Run(
        order.folder, order.machine, order.cache, cache_gb=order.cache_gb, save_every=order.save_every,
        only=only, taken=taken, steal_lock=steal_lock, explain=lambda stage: explain,
    )  # fmt: skip
    try:
        PIPELINES[type(order.recipe)](run, order.images, order.recipe)  # type: ignore[operator]
    except WaitingError:
        if not run.reached_only:
            raise
        return run.did, False
    if not run.did:
        say(f"nothing to do: every stage of {show(order.folder)} is done")
    return run.did, True


def _meet_book(order: Order) -> str:
    """Compare with what the folder's run was begun with; write it down where nothing is done yet. What changed, in words."""
    for reason in order.reasons:
        say(reason)
    order.folder.mkdir(parents=True, exist_ok=True)
    if not (order.folder / "run.json").exists():
        order.book.write(order.folder)
        return ""
    before = Book.read(order.folder)
    done = list(order.folder.rglob("stage.json"))
    if done:
        runs.check_images(before, order.book.images, order.book.used, order.folder)
    return "; ".join(before.changes(order.book))


def _keep_index(order: Order) -> None:
    folder = order.folder / "images"
    if not (folder / "index.arrow").exists():
        order.images.index.save(folder)


def _machine(folder: Path, cache: Path, options: Options, readers: int | None) -> machine.Machine:
    """The machine the run was begun on, as far as bits go; else a new choice."""
    if (folder / "run.json").exists():
        book = Book.read(folder)
        begun = check(machine.Machine, book.machine)
        asked = {"device": options.device, "precision": options.precision}
        same = all(asked[name] == book.options.get(name) for name in asked)
        if same:
            return dataclasses.replace(begun, readers=readers or machine.cores())
    return machine.choose(cache, device=options.device, precision=str(options.precision), readers=readers)


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
