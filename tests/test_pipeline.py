"""The whole of Divide and Contrast: killed, stopped, split up, shuffled, it comes to the same bytes."""

import contextlib
import functools
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import TINY
from PIL import Image

import divcon
from divcon.cli import main
from divcon.errors import DataError

STAGES = ["base", "clusters", "experts/0", "experts/1", "checks", "student"]
STABLE = ["*/encoder.safetensors", "experts/*/encoder.safetensors", "clusters/clusters.parquet", "clusters/centroids.npy", "images/index.arrow"]  # fmt: skip
EPOCHS = 4
TURN = 0.005  # seconds between two looks at a run


def stable(run: Path, patterns: Sequence[str] = STABLE) -> dict[str, bytes]:
    """The files of a run that have to be the same, byte for byte, however it was done."""
    return {str(path.relative_to(run)): path.read_bytes() for pattern in patterns for path in run.glob(pattern)}


@functools.cache
def finished(photos: Path) -> Path:
    """A run that nothing disturbed, to be compared with and looked at; not to be changed."""
    ran = divcon.run(photos, out=photos.parent / "finished", epochs=EPOCHS, **TINY)
    assert ran.done and ran.did == STAGES
    assert len(stable(ran.folder)) == 4 + 3
    return ran.folder


def command(photos: Path, out: Path, *words: str, epochs: float = EPOCHS) -> list[str]:
    """The words of the command for the run of `finished`."""
    options = [f"{key}={value}" for key, value in {**TINY, "epochs": epochs}.items()]
    return ["run", str(photos), f"out={out}", *options, *words]


def started(words: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "divcon", *words], stderr=subprocess.PIPE, text=True)


def typed(words: Sequence[str]) -> int:
    """The exit code of a command, done in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["divcon", *words])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def hit(words: Sequence[str], moment: Callable[[int], bool], number: int, after: float = 0) -> tuple[int, str]:
    """Start a command and send it a signal once `moment` has come for its process; its exit code and what it said."""
    process = started(words)
    while not moment(process.pid) and process.poll() is None:
        time.sleep(TURN)
    time.sleep(after)
    process.send_signal(number)
    said = process.communicate(timeout=10)[1]  # within seconds, whatever it was doing
    return process.returncode, said


def training(stage: Path) -> Callable[[int], bool]:
    """When a checkpoint of the stage is there that was not there before."""
    before = set(stage.glob("checkpoints/step-????????"))
    return lambda pid: bool(set(stage.glob("checkpoints/step-????????")) - before)


def at_work(*stages: Path) -> Callable[[int], bool]:
    """When the process works on one of the stages."""

    def now(pid: int) -> bool:
        states = [stage / "state.json" for stage in stages]
        with contextlib.suppress(FileNotFoundError):  # finished between two looks
            return any(json.loads(state.read_text())["pid"] == pid for state in states if state.exists())
        return False

    return now


def test_a_run_killed_in_three_stages_ends_in_the_bytes_of_one_never_killed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, words = tmp_path / "run", command(photos, tmp_path / "run", "save_every=0")
    for stage, moment in (("base", training), ("experts/1", at_work), ("student", training)):
        code, said = hit(words, moment(run / stage), signal.SIGKILL)
        assert code == -signal.SIGKILL, said
        assert divcon.status(run).stages[stage].state == "interrupted"
    assert typed(words) == 0
    assert re.search(r"student: .* going on from step \d+\n", capsys.readouterr().err)
    assert stable(run) == stable(finished(photos))
    assert not list(run.rglob("*.part")) and not list(run.rglob("checkpoints")) and not list(run.rglob("lock*"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_across_all_stages_change_no_byte(photos: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    epochs = 36
    whole = divcon.run(photos, out=tmp_path / "whole", epochs=epochs, **TINY).folder
    run, words = tmp_path / "run", command(photos, tmp_path / "run", "save_every=0.1", epochs=epochs)
    # how often a stage is killed, and how many seconds after it was taken up at the most
    plan = {"base": (5, 0.2), "clusters": (1, 0.03), "experts/0": (4, 0.1), "experts/1": (4, 0.1), "checks": (1, 0.01), "student": (5, 0.1)}  # fmt: skip
    killed = dict.fromkeys(plan, 0)
    for i, (times, most) in enumerate(plan.values()):
        for _ in range(times):
            moment = at_work(*(run / stage for stage in list(plan)[i:]))
            code, said = hit(words, moment, signal.SIGKILL, after=rng.uniform(0, most))
            assert code == -signal.SIGKILL, said
            for stage, account in divcon.status(run).stages.items():
                killed[stage] += account.state == "interrupted"
    assert sum(count for count, _ in plan.values()) == 20
    assert all(killed.values()), killed
    assert started(words).wait(timeout=200) == 0
    assert stable(run) == stable(whole)


def test_ctrl_c_and_sigterm_save_and_end_with_their_codes(photos: Path, tmp_path: Path) -> None:
    run, words = tmp_path / "run", command(photos, tmp_path / "run", "save_every=0")
    for stage, number, expected in (("base", signal.SIGINT, 130), ("student", signal.SIGTERM, 75)):
        code, said = hit(words, training(run / stage), number)
        assert code == expected, said
        saved = max((run / stage).glob("checkpoints/step-*"))
        step = int(saved.name.removeprefix("step-"))
        assert f"stopped by {number.name}: {stage} is saved at step {step}" in said
        assert "Traceback" not in said and "type the same command again" in said
        assert divcon.status(run).stages[stage].state == "interrupted"
    assert typed(words) == 0
    assert stable(run) == stable(finished(photos))


@pytest.mark.parametrize("options", [{}, {"workers": 3, "cache_gb": 0}])
def test_a_second_run_in_one_process_gives_the_same_bytes_with_any_threads_and_cache(
    photos: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    assert stable(divcon.run(photos, out=tmp_path / "run", epochs=EPOCHS, **TINY, **options).folder) == stable(
        finished(photos)
    )


def test_names_and_order_of_the_files_change_no_encoder_and_no_centroid(photos: Path, tmp_path: Path) -> None:
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    for i, path in enumerate(files[::-1]):
        new = tmp_path / "moved" / str(i % 3) / f"{i * 37 % len(files):03}.picture"
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, new)
    run = divcon.run(tmp_path / "moved", out=tmp_path / "run", epochs=EPOCHS, **TINY).folder
    same = ["*/encoder.safetensors", "experts/*/encoder.safetensors", "clusters/centroids.npy"]
    assert stable(run, same) == stable(finished(photos), same)
    columns = ["label", "distance"]
    tables = [
        pq.read_table(folder / "clusters/clusters.parquet", columns=columns) for folder in (run, finished(photos))
    ]
    assert tables[0].equals(tables[1])


def test_stage_by_stage_in_two_processes_and_experts_in_any_order_is_one_go(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for stage in ("base", "clusters"):
        assert typed(command(photos, run, "--only", stage)) == 0
    assert typed(command(photos, run, "--only", "student")) == 69
    elsewhere = started(command(photos, run, "--only", "experts/1"))
    said = elsewhere.communicate(timeout=60)[1]
    assert elsewhere.returncode == 0, said
    assert not (run / "experts" / "0").exists()
    for stage in ("experts/0", "checks", "student"):
        assert typed(command(photos, run, "--only", stage)) == 0
    assert stable(run) == stable(finished(photos))


def test_a_stage_that_is_not_there_can_not_be_done_alone(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("experts/9", "expert/0"):
        assert typed(command(photos, finished(photos), "--only", stage)) == 64
        assert f"unknown stage {stage!r}" in capsys.readouterr().err


LOADED = (
    "import sys\nfrom divcon.cli import main\ntry:\n main()\nfinally:\n print('torch' in sys.modules, file=sys.stderr)"
)


def test_a_finished_run_is_left_as_it_is_and_torch_is_not_loaded_to_see_that(photos: Path) -> None:
    run = finished(photos)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    done = subprocess.run([sys.executable, "-c", LOADED, *command(photos, run)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.endswith("False\n")
    assert f"nothing to do: every stage of {run} is done" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_images_that_came_after_a_finished_stage_are_refused(photos: Path, tmp_path: Path) -> None:
    more = shutil.copytree(photos, tmp_path / "photos")
    run = shutil.copytree(finished(photos), tmp_path / "run")
    Image.linear_gradient("L").resize((40, 40)).save(more / "new.png")
    with pytest.raises(DataError, match=r"160 were used, 161 are there now.*out=") as error:
        divcon.run(more, out=run, epochs=EPOCHS, **TINY)
    assert error.value.code == 65
    assert stable(run) == stable(finished(photos))


def test_images_that_came_before_any_stage_was_finished_are_used(photos: Path, tmp_path: Path) -> None:
    more, run = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "run"
    assert typed([*command(more, run), "base.lr=1e30"]) == 70
    Image.linear_gradient("L").resize((40, 40)).save(more / "new.png")
    assert typed(command(more, run, "--only", "base", epochs=1)) == 0
    assert typed(command(more, run, "--only", "clusters", epochs=1)) == 0
    assert divcon.status(run).images == 161


@pytest.mark.parametrize("recipe", ["moclr", "simclr"])
def test_a_baseline_is_one_stage_at_the_same_budget(photos: Path, tmp_path: Path, recipe: str) -> None:
    ran = divcon.run(
        photos, out=tmp_path / "run", recipe=recipe, epochs=2, **{k: v for k, v in TINY.items() if "." not in k}
    )
    assert ran.done and ran.did == ["base"]
    assert divcon.status(ran.folder).stages["base"].images_seen == 2 * 160


def test_a_plan_is_what_the_run_then_does(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(command(photos, tmp_path / "run", "--plan", "--json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "run").exists()
    done = {
        name: json.loads((finished(photos) / name / "stage.json").read_text())["summary"]
        for name in ("base", "student")
    }
    rows = {row["stage"]: row for row in plan["stages"]}
    assert [name for name in rows if name != "pixels"] == list(STAGES)
    for name, notes in done.items():
        assert (rows[name]["steps"], rows[name]["batch_size"]) == (notes["steps"], notes["batch_size"])
    assert not any("steps" in rows[name] for name in ("clusters", "checks"))
    assert plan["images"] == 160 and plan["processes"] == 1 and plan["disk_mb"] > 0 and plan["free_mb"] > 0
    assert (
        plan["seconds"] == pytest.approx(sum(row["seconds"] for row in rows.values()), abs=0.1) and plan["seconds"] > 0
    )


def test_the_library_writes_nothing_on_its_own(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    divcon.run(
        photos, out=tmp_path / "run", recipe="moclr", epochs=1, **{k: v for k, v in TINY.items() if "." not in k}
    )
    assert capfd.readouterr() == ("", "")
