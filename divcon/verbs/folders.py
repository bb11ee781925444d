"""Looking at what is on the disk: a pile of images, a run."""

from pathlib import Path
from typing import Any

import numpy as np

from .. import locks, records
from ..artifacts import cache_folder, refuse_unwritable, show
from ..book import Book, expected, forget
from ..book import verify as verify_hashes
from ..config import Threads
from ..data.images import look_through, open_images, refuse_none
from ..data.index import Near
from ..data.rejected import sample
from ..errors import DamagedError, InputError, UsageError
from ..fit.journal import lines
from ..paths import Data, refuse_inside
from .door import glance, verb

NAMED = 10  # of the rejected, in what `look` says
UNKNOWN = dict.fromkeys(("images_seen", "images_per_second", "data_wait", "peak_rss_mb"))  # where nothing was trained


@verb
def look(
    data: Data, *, include: str | tuple[str, ...] = (), exclude: str | tuple[str, ...] = (),
    near_duplicates: Near = "keep", cache: str | Path | None = None, threads: Threads | None = None, sheet: str | Path | None = None,
    rejected: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What is in the pile: how many files were found, used, duplicates, and rejected for what reason; how many look like
    another that is used (near-duplicates: used too, unless they are to be dropped); the middle sizes in pixels; a few of the rejected by name. `sheet` is where to draw a contact sheet, `rejected` where to
    write down all that were rejected, also when no image can be used."""
    for name, path, ending in (("sheet", sheet, ".png"), ("rejected", rejected, ".csv")):
        if path is not None and Path(path).suffix != ending:
            raise UsageError(f"{name}={show(path)}: let the name end in {ending}")
        if path is not None:
            refuse_unwritable(Path(path))
    if sheet is not None:
        refuse_inside(data, "sheet", Path(sheet))
    images = look_through(
        data,
        include=include,
        exclude=exclude,
        near_duplicates=near_duplicates,
        cache=cache_folder(cache),
        threads=threads,
    )
    if rejected is not None:
        images.index.save_rejected(Path(rejected))
    refuse_none(data, images, Path(rejected) if rejected is not None else None)
    if sheet is not None:
        from .sheet import draw_collection

        draw_collection(images, Path(sheet))
    index = images.index
    counts = {"found": index.found, "used": index.used, "duplicates": index.duplicates, "rejected": index.rejected}
    middle = {"width": int(np.median(images.widths)), "height": int(np.median(images.heights))}
    near = {"near_duplicates": index.near_duplicates}
    some = [row._asdict() for row in sample(index, NAMED)]
    reasons = {"reasons": dict(index.reasons), "rejected_sample": some}
    return {**counts, **near, **reasons, "notes": index.notes, "median": middle}


@verb
def index(
    data: Data, *, out: str | Path | None = None, include: str | tuple[str, ...] = (), exclude: str | tuple[str, ...] = (),
    near_duplicates: Near = "keep", cache: str | Path | None = None, threads: Threads | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Read every file once and remember it in the cache; with `out`, also as index.arrow and lists in that folder."""
    made = open_images(
        data,
        include=include,
        exclude=exclude,
        near_duplicates=near_duplicates,
        cache=cache_folder(cache),
        threads=threads,
    ).index
    if out is not None:
        made.save(Path(out))
    return {"used": made.used, "fingerprint": made.fingerprint}


@glance
def status(run: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """Each stage: waiting, running, interrupted, failed or done; how far, how fast, how long still."""
    folder = Path(run)
    book = _book(folder)
    stages = {name: stage_status(folder / name) for name in expected(folder, book)}
    result: dict[str, Any] = {"images": book.used, "stages": stages}
    if verify:
        result["damaged"] = verify_hashes(folder)
    return result


def stage_status(folder: Path) -> dict[str, Any]:
    """One stage's line of `status`; of one whose own word is damaged, that."""
    try:
        return _stage_status(folder)
    except DamagedError as error:
        return {**UNKNOWN, "state": "failed", "why": str(error), "progress": 0.0, "eta": None, "seconds": 0.0}


def _stage_status(folder: Path) -> dict[str, Any]:
    if (folder / "stage.json").exists():
        done = records.read(records.Done, folder / "stage.json")
        return {
            **UNKNOWN,
            "state": "done",
            "progress": 1.0,
            "eta": 0.0,
            "seconds": done["seconds"],
            **_rates(done["notes"]),
        }
    if not (folder / "state.json").exists():
        return {**UNKNOWN, "state": "waiting", "progress": 0.0, "eta": None, "seconds": 0.0}
    state = records.read(records.State, folder / "state.json")
    running = state["state"] == "running" and locks.holder_of(folder) is not None
    name = state["state"] if running or state["state"] != "running" else "interrupted"  # killed without a word
    return {**UNKNOWN, "state": name, "why": state["why"], "seconds": round(state["seconds"], 1), **_progress(folder)}


def _progress(folder: Path) -> dict[str, Any]:
    """How far a stage is by its journal."""
    journal = lines(folder / "metrics.jsonl")
    if not journal:
        return {"progress": 0.0, "eta": None}
    last = records.checked(records.Line, journal[-1], folder / "metrics.jsonl")
    done, steps = last["step"] + 1, last["steps"]
    per_step = last["images_per_second"] and last["batch_size"] / last["images_per_second"]
    eta = round((steps - done) * per_step, 1) if per_step else None
    return {"progress": round(done / steps, 4), "eta": eta, "images_seen": done * last["batch_size"], **_rates(last)}


def _rates(notes: dict[str, Any]) -> dict[str, Any]:
    return {key: notes[key] for key in UNKNOWN if key in notes}


@glance
def redo(run: str | Path, stage: str) -> list[str]:
    """Forget a stage and what follows from it; the names of what was removed."""
    _book(Path(run))
    return forget(Path(run), stage)


def _book(folder: Path) -> Book:
    if not (folder / "run.json").exists():
        raise InputError(f"{show(folder)} is not a run: there is no run.json in it")
    return Book.read(folder)
