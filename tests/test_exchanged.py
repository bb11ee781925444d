"""Whole files in the wrong place: a checkpoint of another step or training, a stage of another run. None is believed."""

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from test_damage import OPTIONS, flipped, interrupted, undisturbed
from test_pipeline import EPOCHS, finished, stable
from torch import nn

import divcon
from divcon.errors import UsageError
from divcon.train import checkpoints
from divcon.train.optimizers import make_optimizer


@functools.cache
def of_another_seed(photos: Path) -> Path:
    return divcon.run(photos, out=photos.parent / "another", epochs=EPOCHS, seed=7, **TINY).folder


def newest(run: Path) -> Path:
    return max((run / "student/checkpoints").glob("step-*"))


def copied_on(run: Path) -> Path:
    """The newest checkpoint under the name of a later step."""
    return Path(shutil.copytree(newest(run), newest(run).with_name("step-00000008")))


def anothers(run: Path) -> Path:
    """Under the name of a later step, one that was made for that step, by another training."""
    net = nn.Linear(2, 3)
    checkpoints.save(run / "elsewhere", 8, net, make_optimizer("adamw", net, 0.0), of="another")
    shutil.move(run / "elsewhere/step-00000008", run / "student/checkpoints/step-00000008")
    (run / "elsewhere").rmdir()
    return run / "student/checkpoints/step-00000008"


@pytest.mark.parametrize("planted", [copied_on, anothers])
def test_a_checkpoint_in_the_place_of_another_is_named_and_not_gone_on_from(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, planted: Any
) -> None:
    run = shutil.copytree(interrupted(photos), tmp_path / "run")
    step = int(newest(run).name.removeprefix("step-"))
    bad = planted(run)
    if planted is copied_on:
        assert any(
            f"{bad}/MANIFEST.json: expected step 8, found step {step}" in line
            for line in divcon.status(run, verify=True).damaged
        )
    caplog.clear()
    assert divcon.run(photos, out=run, **OPTIONS).done
    assert str(bad) in caplog.text and stable(run) == undisturbed(photos)


@pytest.mark.parametrize("stage", ["base", "experts/1", "clusters", "student"])
def test_a_finished_run_with_a_stage_of_another_run_is_not_called_done(
    photos: Path, tmp_path: Path, stage: str
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    shutil.rmtree(run / stage)
    shutil.copytree(of_another_seed(photos) / stage, run / stage)
    (line,) = divcon.status(run, verify=True).damaged
    assert (
        f"{run / stage / 'stage.json'}: expected sha256" in line
        and "not the one that the run was finished with" in line
    )
    with pytest.raises(UsageError, match=f"divcon redo {run} "):
        divcon.run(photos, out=run, epochs=EPOCHS, **TINY)


def test_what_is_done_anew_is_no_exchange(photos: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    divcon.redo(run, "clusters")
    assert divcon.status(run, verify=True).damaged == []
    divcon.run(photos, out=run, only="clusters", epochs=EPOCHS, **TINY)
    assert divcon.status(run, verify=True).damaged == []
    assert divcon.run(photos, out=run, epochs=EPOCHS, **TINY).did == ["experts/0", "experts/1", "checks", "student"]
    assert divcon.status(run, verify=True).damaged == [] and stable(run) == stable(finished(photos))
    assert divcon.run(photos, out=run, epochs=EPOCHS, **TINY).did == []


def test_a_stage_done_alone_finishes_the_run_as_well(photos: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    for forget in (lambda: divcon.redo(run, "student"), lambda: shutil.rmtree(run / "student")):
        forget()
        assert divcon.run(photos, out=run, only="student", epochs=EPOCHS, **TINY).did == ["student"]
        assert divcon.status(run, verify=True).damaged == []
        base = run / "base/stage.json"
        good = base.read_bytes()
        base.write_bytes((of_another_seed(photos) / "base/stage.json").read_bytes())
        assert any("finished with" in line for line in divcon.status(run, verify=True).damaged)
        base.write_bytes(good)


def test_with_its_state_damaged_and_other_options_no_checkpoint_is_thrown_away(photos: Path, tmp_path: Path) -> None:
    run = shutil.copytree(interrupted(photos), tmp_path / "run")
    state, before = run / "student/state.json", sorted((run / "student/checkpoints").iterdir())
    state.write_bytes(flipped(state.read_bytes(), 0.5))
    with pytest.raises(UsageError, match=r"stage student in .* was begun with other options: .*student.lr"):
        divcon.run(photos, out=run, **{**OPTIONS, "student.lr": 0.5})
    assert sorted((run / "student/checkpoints").iterdir()) == before
    assert divcon.run(photos, out=run, **OPTIONS).done and stable(run) == undisturbed(photos)
