"""Killed at any of the named places, and begun again, a run ends in the bytes of one that nothing disturbed."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import processes
import pytest
from conftest import TINY
from test_pipeline import EPOCHS, STAGES, command, finished, stable

import divcon
from divcon import faults

LEFT = ("*.part", "*.stale", "lock*", "checkpoints", "state.json", "kept.*")
CENTRE = {"student.teacher_view": "centre"}
KILLED = -9
# What goes before: a command that is killed too, at a place that leaves what the next one is to find.
BEFORE = {"lock.aside": ("stage.begun", []), "stage.clearing": ("stage.begun", ["base.lr=0.5"])}
FEW = ("checkpoint.half", "stage.saved")


@functools.cache
def of_kept_teachers(photos: Path) -> Path:
    """An undisturbed run whose student learns from what its teachers said once."""
    return divcon.run(photos, out=photos.parent / "centre", epochs=EPOCHS, **TINY, **CENTRE).folder


def kill(words: list[str], point: str, folder: Path) -> None:
    """Do a command that dies at the place; it fails the test where the place was not reached."""
    code, said = processes.done(words, {faults.VARIABLE: point})
    assert code == KILLED, f"{point} was not reached: {code}, {said}"


def test_killed_at_the_very_end_of_its_last_stage_a_run_is_done_and_tidied_up(photos: Path, tmp_path: Path) -> None:
    walk(f"stage.done:{len(STAGES)}", photos, tmp_path)


def walk(point: str, photos: Path, folder: Path) -> None:
    """Kill a command at the place, go on, and compare."""
    name, run = point.partition(":")[0], folder / "run"
    more = [f"{key}={value}" for key, value in CENTRE.items()] if name == "teachers.some" else []
    words = command(photos, run, f"cache={folder / 'cache'}", "save_every=0", *more)
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
    expected = of_kept_teachers(photos) if more else finished(photos)
    assert stable(run) == stable(expected)
    assert divcon.status(run, verify=True)["damaged"] == []
    assert [path for left in LEFT for place in (run, folder / "cache") for path in place.rglob(left)] == []


@pytest.mark.parametrize("point", FEW)
def test_killed_at_a_place_that_is_hard_to_come_back_from_a_run_ends_in_the_same_bytes(
    photos: Path, tmp_path: Path, point: str
) -> None:
    walk(point, photos, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("point", faults.POINTS)
def test_killed_at_any_place_a_run_ends_in_the_same_bytes(photos: Path, tmp_path: Path, point: str) -> None:
    walk(point, photos, tmp_path)


def test_the_places_are_listed_by_any_command_and_by_nothing_else_done(photos: Path, tmp_path: Path) -> None:
    for words in (["look", "nowhere"], command(photos, tmp_path / "run"), []):
        code, said = processes.done(words, {faults.VARIABLE: "list"})
        assert code == 0 and [line.split()[0] for line in said.splitlines()] == list(faults.POINTS)
    assert not (tmp_path / "run").exists() and len(faults.POINTS) >= 25


def test_a_place_that_is_not_there_is_refused_and_one_not_reached_is_said(photos: Path, tmp_path: Path) -> None:
    code, said = processes.done(["look", str(photos)], {faults.VARIABLE: "stage.saevd"})
    assert code == 64 and "did you mean stage.saved?" in said
    code, said = processes.done(["look", str(photos)], {faults.VARIABLE: "stage.saved:2"})
    assert code == 0 and "stage.saved:2 was never reached: this command passed there 0 times" in said


def test_every_place_is_in_the_code_once_and_is_called_by_its_name() -> None:
    package = Path(divcon.__file__).parent
    text = "\n".join(path.read_text() for path in package.rglob("*.py"))
    assert {name: text.count(f'faults.at("{name}")') for name in faults.POINTS} == dict.fromkeys(faults.POINTS, 1)
    assert text.count('faults.at("') == len(faults.POINTS)


def test_who_asks_for_no_fault_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    for name in faults.POINTS:
        faults.at(name)
    assert faults.asked() == ("", 1) and faults.missed() == ""


def test_a_place_is_died_at_when_it_is_passed_for_the_time_asked_for() -> None:
    code = "from divcon import faults\nfor i in range(5):\n    print(i, flush=True)\n    faults.at('stage.saved')"
    env: dict[str, Any] = {"PYTHONPATH": ":".join(sys.path), faults.VARIABLE: "stage.saved:3"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (KILLED, "0\n1\n2\n")
