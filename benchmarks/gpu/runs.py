"""A DnC run whole, what reads it afterwards, its plan, and runs that are killed."""

import cProfile
import hashlib
import os
import pstats
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import divcon
from divcon import failpoints
from divcon.data.synthetic import make_collection
from divcon.files.integrity import read_json
from divcon.runs.evals import EvaluateAnswer

from .checks import Found, Notes, Place, alone

KILLED = -9
LONGEST = 30  # functions of a profile
Alone = Callable[..., int | None]


def collection(place: Place, images: int) -> Path:
    folder = place.folder / f"made-{images}"
    return folder if folder.exists() else make_collection(folder, images, size=48)


def options(place: Place, **more: Any) -> dict[str, Any]:
    small = {"encoder": "slim10_w8", "size": 16, "hidden": 32, "dim": 16, "clusters.k": 2, "clusters.smallest": 16}
    chosen: dict[str, Any] = small if place.tiny else {"encoder": "resnet18", "size": 32, "hidden": 512, "dim": 128}
    return {**chosen, "device": place.device, "cache": place.cache, **more}


def dnc(place: Place, notes: Notes) -> None:
    """Plan, run, status, embed and evaluate on a collection with known classes."""
    photos, out = collection(place, 160 if place.tiny else 2000), place.folder / "dnc"
    asked = options(place, epochs=2 if place.tiny else 20, batch_size=16 if place.tiny else 128)
    planned = timed(notes, "plan", lambda: divcon.plan(photos, out=out, **asked))
    notes.put(planned={row.stage: row.seconds for row in planned.stages}, machine=planned.machine)
    notes.put(planned_gpu_mb=planned.gpu_mb)
    reset_peak(place)
    ran = timed(notes, "run", lambda: divcon.run(photos, out=out, **asked))
    notes.put(did=ran.did, stages=stages(out), gpu_memory_mb=peak_mb(place))
    trained = sum(
        seconds for name, seconds in stages(out).items() if name.split("/")[0] in ("base", "experts", "student")
    )
    steps = sum(row.seconds for row in planned.stages if row.steps is not None)
    notes.put(planned_over_trained=round(steps / max(trained, 1e-9), 2))
    if place.on_gpu and planned.gpu_mb:
        notes.put(planned_over_gpu_memory=round(planned.gpu_mb * 1e6 / torch.cuda.max_memory_allocated(), 2))
    notes.claim("every stage is done", float(ran.done), at_least=1)
    state = timed(notes, "status", lambda: divcon.status(out, verify=True))
    notes.claim("damaged files", len(state.damaged), at_most=0)
    embedded = timed(
        notes, "embed", lambda: divcon.embed(out, photos, out=place.folder / "dnc.parquet", cache=place.cache)
    )
    notes.claim("images embedded", embedded.pictures, at_least=len(list(photos.rglob("*.*"))) * 0.95)
    profiled = cProfile.Profile()
    scores = timed(notes, "evaluate", lambda: profiled.runcall(divcon.evaluate, out, photos, cache=place.cache))
    notes.put(evaluate_profile=longest(profiled))
    notes.put(scores=top1(scores))
    untrained = divcon.evaluate(f"random:{out}", photos, cache=place.cache, tasks="knn")
    notes.put(untrained=top1(untrained))


def longest(profiled: cProfile.Profile) -> dict[str, float]:
    """The seconds of the functions that take longest, the functions that they call included, and not included."""
    functions = pstats.Stats(profiled).get_stats_profile().func_profiles.items()
    with_calls, without = (
        sorted(functions, key=lambda item: -getattr(item[1], of))[:LONGEST] for of in ("cumtime", "tottime")
    )
    return {
        **{f"{name} with its calls": found.cumtime for name, found in with_calls},
        **{f"{name} {found.ncalls}": found.tottime for name, found in without},
    }


def top1(scores: EvaluateAnswer) -> dict[str, float | None]:
    return {name: task.top1 for name, task in (("knn", scores.knn), ("linear", scores.linear)) if task is not None}


def timed(notes: Notes, name: str, work: Callable[[], Any]) -> Any:
    begin = time.perf_counter()
    result = work()
    notes.put(**{f"{name}_seconds": round(time.perf_counter() - begin, 2)})
    return result


def stages(out: Path) -> dict[str, float]:
    return {str(file.parent.relative_to(out)): read_json(file)["seconds"] for file in sorted(out.rglob("stage.json"))}


def reset_peak(place: Place) -> None:
    if place.on_gpu:
        torch.cuda.reset_peak_memory_stats()


def peak_mb(place: Place) -> int | None:
    return torch.cuda.max_memory_allocated() >> 20 if place.on_gpu else None


def resume(place: Place, found: Found, seconds: float) -> None:
    """A run undisturbed, and one that is killed in its base and in its student: the same bits, by deterministic
    algorithms. Then the same run twice without those, which need not give the same bits."""
    deadline = time.monotonic() + seconds
    photos = collection(place, 160 if place.tiny else 600)

    def do(name: str, part: str, repeatable: bool) -> int | None:
        return alone(found, process, deadline - time.monotonic(), place, photos, name, part, repeatable)

    do("undisturbed", "whole", True)
    expected = hashes(place.folder / "undisturbed")
    found.put(undisturbed=expected)
    codes = [do("killed", part, True) for part in ("base", "rest", "whole")]
    found.claim("kills that happened, in the base and in the student", sum(c == KILLED for c in codes), at_least=2)
    same(found, "killed and resumed: stages with other bits", expected, hashes(place.folder / "killed"))
    do("again", "whole", True)
    same(found, "run again, deterministic: stages with other bits", expected, hashes(place.folder / "again"))
    for name in ("plain-1", "plain-2"):
        do(name, "whole", False)
    one, other = (hashes(place.folder / name) for name in ("plain-1", "plain-2"))
    found.put(plain_differs=[name for name in one if one[name] != other.get(name)], plain_stages=len(one))


def same(found: Found, text: str, expected: dict[str, str], other: dict[str, str]) -> None:
    differs = [name for name in expected if expected[name] != other.get(name)]
    found.put(**{text: differs})
    found.claim(text, len(differs) if expected else 1, at_most=0)


def hashes(run: Path) -> dict[str, str]:
    files = [*run.rglob("encoder.safetensors"), *run.rglob("centroids.npy")]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in sorted(files)}


def process(place: Place, photos: Path, name: str, part: str, repeatable: bool, notes: Notes) -> None:
    """The whole run, or its base killed at the tenth step, or the rest killed at the fifth step of the student."""
    if repeatable:
        deterministic()
    out, often = place.folder / name, 0.05 if name == "killed" else 30.0
    size = (
        {"batch_size": 16} if place.tiny else {"encoder": "slim10", "batch_size": 32}
    )  # small: it is saved at each step
    asked = options(place, epochs=4, save_every=often, **size)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if part == "base":
            die_after(10)
        if part == "rest":
            finish_all_but_the_last(photos, out, asked)
            die_after(5)
        divcon.run(photos, out=out, **asked)
    if repeatable and part == "whole":
        notes.put(nondeterministic=sorted({str(w.message)[:90] for w in caught if "determinis" in str(w.message)}))


def finish_all_but_the_last(photos: Path, out: Path, asked: dict[str, Any]) -> None:
    """Do the stages before the student in the order in which the pipeline comes to them."""
    for stage in ("base", "clusters", "experts", "checks"):
        divcon.run(photos, out=out, only=stage, **asked)


def die_after(steps: int) -> None:
    visits = failpoints._visits["train.stepped"] + steps
    os.environ[failpoints.VARIABLE] = f"train.stepped:{visits}"


def deterministic() -> None:
    """Let torch use deterministic algorithms, and warn where there is none. A verb sets the host's own choice aside, so
    the function that it would do this by does nothing from now on."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_deterministic_debug_mode = lambda debug_mode: None
