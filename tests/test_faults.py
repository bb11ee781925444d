"""Killed at any of the named places, and begun again, a run ends in the bytes of one that nothing disturbed."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import processes
import pytest
from conftest import TINY
from test_baselines import PIXELS, SMALL
from test_pipeline import EPOCHS, STAGES, command, finished, stable

import divcon
from divcon import failpoints
from divcon.api import run_plan
from divcon.pipelines.dnc import DnC
from divcon.pipelines.recipe import Recipe

LEFT = ("*.part", "*.stale", "lock*", "checkpoints", "state.json", "kept.*")
CENTER = {"student.teacher_view": "center"}
KILLED = -9
# What goes before: a command that is killed too, at a place that leaves what the next one is to find.
BEFORE = {"lock.aside": ("stage.begun", []), "stage.clearing": ("stage.begun", ["base.lr=0.5"])}
FEW = ("checkpoint.half", "stage.saved")
# What DnC is measured against, and where each is killed: within a pass and where one begins, in every stage.
TRAINED = ("train.stepped:11", "train.stepped:17", "checkpoint.half:14", "train.logged:20", "stage.saved")
MORE = ("train.stepped:17", "stage.saved")
BASELINES = {
    "nmf": ("factors.stepped:4", "factors.stepped:11", "factors.kept:7", "file.synced:9", "stage.saved"),
    "clusterfit": (*TRAINED, "divide.fitted", "stage.saved:2", "train.stepped:27", "checkpoint.half:28", "stage.saved:3"),
    "supervised": TRAINED, "deepcluster": TRAINED, "swav": TRAINED, "local_aggregation": TRAINED,
    "deepcluster_v2": MORE, "seer": MORE, "npid": MORE, "moco": MORE,
}  # fmt: skip


@functools.cache
def of_kept_teachers(photos: Path) -> Path:
    """An undisturbed run whose student learns from what its teachers said once."""
    return divcon.run(photos, out=photos.parent / "center", epochs=EPOCHS, **TINY, **CENTER).folder


def kill(words: list[str], point: str, folder: Path) -> None:
    """Do a command that dies at the place; it fails the test where the place was not reached."""
    code, said = processes.done(words, {failpoints.VARIABLE: point})
    assert code == KILLED, f"{point} was not reached: {code}, {said}"


def test_killed_at_the_very_end_of_its_last_stage_a_run_is_done_and_tidied_up(photos: Path, tmp_path: Path) -> None:
    walk(f"stage.done:{len(STAGES)}", photos, tmp_path)


@functools.cache
def baseline(recipe: str, photos: Path) -> Path:
    """An undisturbed run of another pipeline, of three passes."""
    return divcon.run(photos, out=photos.parent / recipe, **asked(recipe, photos)).folder


def asked(recipe: str, photos: Path) -> dict[str, Any]:
    labels = {"labels": str(photos)} if recipe == "supervised" else {}
    return {"recipe": recipe, "epochs": 3, **(PIXELS if recipe == "nmf" else SMALL), **labels}


def as_typed(options: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in options.items()]


def walk(point: str, photos: Path, folder: Path) -> None:
    """Kill DnC at the place, or the pipeline that has it; go on, and compare."""
    name = point.partition(":")[0]
    if name.startswith("factors."):
        walk_of(baseline("nmf", photos), asked("nmf", photos), point, photos, folder)
        return
    more = CENTER if name == "teachers.some" else {}
    expected = of_kept_teachers(photos) if more else finished(photos)
    walk_of(expected, {"epochs": EPOCHS, **TINY, **more}, point, photos, folder)


def walk_of(expected: Path, options: dict[str, Any], point: str, photos: Path, folder: Path) -> None:
    name, run = point.partition(":")[0], folder / "run"
    words = ["run", str(photos), f"out={run}", f"cache={folder / 'cache'}", "save_every=0", *as_typed(options)]
    before, others = BEFORE.get(name, ("", []))
    if before:
        kill([*words, *others], before, folder)
    if name.startswith("redo."):
        assert processes.done(words)[0] == 0
        kill(["redo", str(run), "base"], point, folder)
    else:
        kill(words, point, folder)
    code, said = processes.done(words)
    assert code == 0, said
    assert stable(run) == stable(expected)
    assert divcon.status(run, verify=True).damaged == []
    assert [path for left in LEFT for place in (run, folder / "cache") for path in place.rglob(left)] == []


@pytest.mark.parametrize("point", FEW)
def test_killed_at_a_place_that_is_hard_to_come_back_from_a_run_ends_in_the_same_bytes(
    photos: Path, tmp_path: Path, point: str
) -> None:
    walk(point, photos, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("point", failpoints.POINTS)
def test_killed_at_any_place_a_run_ends_in_the_same_bytes(photos: Path, tmp_path: Path, point: str) -> None:
    walk(point, photos, tmp_path)


QUICK = ("nmf", "stage.saved")  # the others are slow
EACH = [(recipe, point) for recipe, points in BASELINES.items() for point in points]


@pytest.mark.parametrize(
    ("recipe", "point"), [pytest.param(*each, marks=() if each == QUICK else pytest.mark.slow) for each in EACH]
)
def test_a_baseline_that_is_killed_at_a_hard_place_ends_in_the_same_bytes(
    photos: Path, tmp_path: Path, recipe: str, point: str
) -> None:
    walk_of(baseline(recipe, photos), asked(recipe, photos), point, photos, tmp_path)


def test_every_pipeline_there_is_is_killed(photos: Path, tmp_path: Path) -> None:
    kinds = {type(run_plan.prepare_run(photos, tmp_path / "run", asked(recipe, photos)).recipe) for recipe in BASELINES}
    assert kinds | {DnC} == {kind for kind in Recipe.__subclasses__() if kind.__module__.startswith("divcon.")}


def test_the_places_are_listed_by_any_command_and_by_nothing_else_done(photos: Path, tmp_path: Path) -> None:
    for words in (["look", "nowhere"], command(photos, tmp_path / "run"), []):
        code, said = processes.done(words, {failpoints.VARIABLE: "list"})
        assert code == 0 and [line.split()[0] for line in said.splitlines()] == list(failpoints.POINTS)
    assert not (tmp_path / "run").exists() and len(failpoints.POINTS) >= 25


def test_a_place_that_is_not_there_is_refused_and_one_not_reached_is_said(photos: Path, tmp_path: Path) -> None:
    code, said = processes.done(["look", str(photos)], {failpoints.VARIABLE: "stage.saevd"})
    assert code == 64 and "did you mean stage.saved?" in said
    code, said = processes.done(["look", str(photos)], {failpoints.VARIABLE: "stage.saved:2"})
    assert code == 0 and "stage.saved:2 was never reached: this command passed there 0 times" in said


def test_every_place_is_in_the_code_once_and_is_called_by_its_name() -> None:
    package = Path(divcon.__file__).parent
    text = "\n".join(path.read_text() for path in package.rglob("*.py"))
    assert {name: text.count(f'failpoints.at("{name}")') for name in failpoints.POINTS} == dict.fromkeys(
        failpoints.POINTS, 1
    )
    assert text.count('failpoints.at("') == len(failpoints.POINTS)


def test_who_asks_for_no_fault_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(failpoints.VARIABLE, raising=False)
    for name in failpoints.POINTS:
        failpoints.at(name)
    assert failpoints.requested() == ("", 1) and failpoints.unreached() == ""


def test_a_place_is_died_at_when_it_is_passed_for_the_time_asked_for() -> None:
    code = (
        "from divcon import failpoints\nfor i in range(5):\n    print(i, flush=True)\n    failpoints.at('stage.saved')"
    )
    env: dict[str, Any] = {"PYTHONPATH": ":".join(sys.path), failpoints.VARIABLE: "stage.saved:3"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (KILLED, "0\n1\n2\n")
