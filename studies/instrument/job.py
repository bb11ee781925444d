"""One run of a study, in a process of its own: trained, scored, written down. Killed anywhere, it goes on when it is asked for
again; what another process is doing is left to it.
"""

import datetime
import json
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from divcon.api import run, run_plan, status
from divcon.api.run_plan import RunPlan
from divcon.config import to_json_value
from divcon.errors import Error, OwnedError, UsageError
from divcon.files.atomic import make_folder
from divcon.files.integrity import digest
from divcon.files.text import printable
from divcon.nets.trained import Trained, untrained
from divcon.runs import owner
from divcon.runs.folder import StageFolder
from divcon.runs.records import ARITHMETIC, RunRecord, versions
from divcon.stages.pretrain import Pretrain

from . import here, watch
from .piles import PILES, Pile
from .rows import Row, Rows, keep
from .scores import scored
from .table import BUSY, UNTRAINED, Run, Study


@dataclass(frozen=True)
class Place:
    """The folders of a study's runs, rows and collections, and the part of the images to be scored by."""

    runs: Path
    rows: Path
    cache: Path
    part: str


@dataclass(frozen=True)
class Trainings:
    """The encoders of a run, and what they cost."""

    encoders: Mapping[str, Trained]
    shown: dict[str, int]
    seconds: dict[str, float]
    shared: dict[str, Any]
    accounts: list[tuple[watch.Account, float]]


def do(study: Study, run: Run, place: Place) -> Path | None:
    """The row's file; None where there is one. OwnedError where another process does this run, or makes what it needs."""
    folder = here.folder(place.runs) / study.name / run.name  # as the runner has it
    with owner.owned(folder):
        if Rows.read(place.rows).has(run, place.part, here.code(), here.processor()["id"]):
            return None
        pile = _pile(run)
        order = _prepared(run, pile, place, folder / "run")
        trainings = _untrained(order) if run.recipe == UNTRAINED else _trained(run, order, place, folder)
        scores = {
            name: scored(model, order.images, pile, place.part, place.cache)
            for name, model in trainings.encoders.items()
        }
        return keep(place.rows, _row(study, run, place, order, trainings, scores))


def _pile(run: Run) -> Pile:
    if run.data not in PILES:
        raise UsageError(f"data={run.data}: there is {', '.join(PILES)}")
    return PILES[run.data]


def _prepared(run: Run, pile: Pile, place: Place, out: Path) -> RunPlan:
    """The collection made and looked through, by one process while others wait; every option settled."""
    recipe = "moclr" if run.recipe == UNTRAINED else run.recipe
    options = {**run.options, "recipe": recipe, "seed": run.seed, "cache": str(place.cache), "workers": 1}
    with owner.owned_briefly(place.cache / "studies" / run.data):
        return run_plan.prepare_run(pile.folder(run.data, place.cache), out, options)


def _untrained(order: RunPlan) -> Trainings:
    """The encoder with the random weights of the seed."""
    base = order.recipe.base
    assert isinstance(base, Pretrain)
    return Trainings({"final": untrained(base.encoder, base.input_spec, base.seed)}, {"all": 0}, {"all": 0.0}, {}, [])


def _trained(run: Run, order: RunPlan, place: Place, folder: Path) -> Trainings:
    typed, shared = dict(order.record.typed), dict[str, Any]()
    accounts = list[tuple[watch.Account, float]]()
    if isinstance(order.recipe.base, Pretrain):
        base = order.base or _base(run, order, place)
        typed["base"] = str(base)
        shared, account = _share(base)
        accounts.append(account)
    with _watched(folder, run):
        _run(order, place, folder / "run", typed)
    shown, seconds = _spent(folder / "run")
    accounts.append((watch.Account.read(folder / "beside.json"), sum(seconds.values())))
    if shared:
        shown["base"], seconds["base"] = shared["images"], shared["seconds"]
    shown["all"], seconds["all"] = sum(shown.values()), round(sum(seconds.values()), 3)
    return Trainings(_encoders(folder / "run"), shown, seconds, shared, accounts)


def _spent(out: Path) -> tuple[dict[str, int], dict[str, float]]:
    """Images shown and seconds, by stage, of what was done in a run's own folder."""
    stages = status.status(out).stages
    shown = {name: int(stage.images_seen or 0) for name, stage in stages.items()}
    return shown, {name: float(stage.seconds) for name, stage in stages.items()}


def _encoders(out: Path) -> dict[str, Trained]:
    final = RunRecord.read(out).final
    first = {} if final == "base" else {"base": Trained.load(out / "base")}
    return {"final": Trained.load(out / final), **first}


def _run(order: RunPlan, place: Place, out: Path, typed: Mapping[str, Any], only: str | None = None) -> None:
    """An encoder that comes to see the same in all images is a result too."""
    options = {**typed, "cache": str(place.cache), "workers": 1}
    run.run(order.images.source.root, out=out, only=only, allow_collapse=True, **options)


def _watched(folder: Path, run: Run) -> AbstractContextManager[None]:
    made_by = watch.Account(dirty=here.commit()["dirty"], first_for=run.name)
    make_folder(folder)
    return watch.watched(folder / "beside.json", made_by)


# a base that several runs use


def _base(run: Run, order: RunPlan, place: Place) -> Path:
    """The stage's folder. It is trained by the first run that needs it, or that comes by while nobody does."""
    folder = here.folder(place.runs) / "bases" / digest(json.dumps(_key(order), sort_keys=True))
    if not (folder / "run" / "base" / "stage.json").exists():
        with owner.owned(folder), _watched(folder, run):
            _run(order, place, folder / "run", order.record.typed, only="base")
    return folder / "run" / "base"


def _key(order: RunPlan) -> dict[str, Any]:
    """All that the bits of a base depend on, beside the code."""
    machine = {**order.record.machine, **{name: order.record.options.get(name) for name in ARITHMETIC}}
    kind = {name: value for name, value in machine.items() if name not in ("workers", "keep_memory")}
    return {"images": order.images.fingerprint, "base": to_json_value(order.recipe.base), "machine": kind}


def _share(base: Path) -> tuple[dict[str, Any], tuple[watch.Account, float]]:
    """The cost of a base, and the company in which it was trained, which is known only of a study's own."""
    stage = status.stage_status(StageFolder(base))
    if not stage.images_seen:
        raise UsageError(
            f"base={printable(base)}: it was not trained there, so its budget is not known; name the run it is from"
        )
    account = watch.Account.read(base.parents[1] / "beside.json")
    cost = {"images": int(stage.images_seen), "seconds": float(stage.seconds)}
    return {"base": Trained.load(base).fingerprint, **cost, "first_for": account.first_for}, (account, cost["seconds"])


# the row


def _row(
    study: Study, run: Run, place: Place, order: RunPlan, trainings: Trainings, scores: dict[str, dict[str, Any]]
) -> Row:  # fmt: skip
    accounts = [account for account, _ in trainings.accounts]
    return Row(
        study=study.name, run=run.name, part=place.part, asked=run.asked,
        collection={"fingerprint": order.images.fingerprint, "images": len(order.images)},
        shown=trainings.shown, seconds=trainings.seconds, shared=trainings.shared, beside=watch.parts(trainings.accounts),
        arithmetic={name: value for name, value in order.record.machine.items() if name not in ("workers", "keep_memory")},
        processor=here.processor(), place=here.place(place.cache), code=here.code(),
        commit={**here.commit(), "dirty": here.commit()["dirty"] or any(account.dirty for account in accounts)},
        versions=versions(), date=datetime.datetime.now(datetime.UTC).date().isoformat(), scores=scores,
    )  # fmt: skip


# the process


def ended(study: Study, run: Run, place: Place) -> int:
    """Do it; the exit code, with a word where it is not 0."""
    try:
        do(study, run, place)
    except OwnedError as error:
        return _told(run, error, BUSY)
    except Error as error:
        return _told(run, error, error.code)
    return 0


def _told(run: Run, error: Error, code: int) -> int:
    if code != BUSY:
        sys.stderr.write(f"{run.name}: {printable(str(error))}\n")
    return code
