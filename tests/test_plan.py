"""A plan says the memory and the disk that the run then takes; it knows ranks and waves of experts."""

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY

from benchmarks.plan import watched, words
from divcon.api import memory, trials
from divcon.api.plan import StageCost, cost_of
from divcon.api.run_plan import RunPlan, prepare_run
from divcon.api.trial import Amount, Trial
from divcon.api.trials import Trials, try_on_ranks
from divcon.cli.run import _plan_text
from divcon.errors import DataError
from divcon.files.integrity import write_json
from divcon.stages.learning import TrainingPlan

STEP, IMAGE = Amount(0.5, 0.4), Amount(0.01, 0.02)


def prepared(photos: Path, folder: Path, **options: Any) -> RunPlan:
    return prepare_run(photos, folder / "run", {**TINY, "epochs": 4, "cache": str(folder / "cache"), **options})


def made_trials(run_plan: RunPlan, groups: list[str]) -> Trials:
    """The same trial for each group: a rank takes half a second a step, and holds 1 GB; 2 s to start."""
    trial = Trial(STEP, IMAGE, 1e9, 0.0, 32)
    return Trials(dict.fromkeys(groups, trial), Amount(0.1, 0.1), Amount(2.0, 1.0), waiting=1e8, launcher=3e8)


def rows_of(run_plan: RunPlan, **more: Any) -> dict[str, StageCost]:
    return {row.stage: row for row in cost_of(run_plan, try_them=made_trials, **more).stages}


def test_a_plan_says_the_memory_and_the_disk_that_a_run_in_a_process_of_its_own_then_takes(
    photos: Path, tmp_path: Path
) -> None:
    options = [f"{key}={value}" for key, value in {**TINY, "epochs": 2, "report": "false", "ranks": 1}.items()]
    options += [f"cache={tmp_path / 'cache'}", "save_every=0"]
    typed = words(photos, tmp_path / "run", options)
    subprocess.run(
        [*typed, "--plan"], check=True, stdout=subprocess.DEVNULL
    )  # it may compile the views' kernel, which takes memory
    planned = json.loads(subprocess.run([*typed, "--plan"], check=True, stdout=subprocess.PIPE).stdout)
    happened = watched(typed, tmp_path)
    assert planned["memory_mb"] == pytest.approx(happened.memory_mb, rel=0.25)
    assert planned["disk_mb"] == pytest.approx(happened.disk_mb, rel=0.7)  # test_disk.py compares every moment
    assert planned["cpu_seconds"] > 0.1 and happened.cpu_seconds > 0.1


def test_steps_and_encoded_images_make_the_time_and_ranks_share_them(photos: Path, tmp_path: Path) -> None:
    one = rows_of(prepared(photos, tmp_path))
    two = rows_of(prepared(photos, tmp_path, ranks=2))
    steps = one["base"].steps or 0
    whitening = 160 * IMAGE.clock
    assert one["base"].seconds == pytest.approx(STEP.clock * steps + whitening)
    assert two["base"].seconds == pytest.approx(STEP.clock * (two["base"].steps or 0) + whitening / 2)
    assert two["base"].cpu_seconds == pytest.approx(
        2 * STEP.processor * (two["base"].steps or 0) + 160 * IMAGE.processor
    )
    assert one["clusters"].seconds == pytest.approx(STEP.clock + 160 * IMAGE.clock)
    assert two["clusters"].seconds == pytest.approx(STEP.clock + 80 * IMAGE.clock)
    assert one["checks"].seconds == two["checks"].seconds == pytest.approx(STEP.clock + 4 * 160 * IMAGE.clock)


def test_memory_is_that_of_all_processes_and_of_those_that_wait(photos: Path, tmp_path: Path) -> None:
    rows = rows_of(prepared(photos, tmp_path, ranks=2))
    assert rows["base"].memory_mb == rows["experts/0"].memory_mb == 2 * 1000 + 300
    assert rows["checks"].memory_mb == 1000 + 100 + 300
    alone = cost_of(prepared(photos, tmp_path, ranks=2), "experts/1", made_trials)
    assert alone.processes == 1 and alone.memory_mb == 1000 + 300


def test_experts_of_two_groups_take_the_time_of_one(photos: Path, tmp_path: Path) -> None:
    run_plan = prepared(photos, tmp_path, ranks=2)
    whole, rows = cost_of(run_plan, try_them=made_trials), rows_of(run_plan)
    experts = [row.seconds for name, row in rows.items() if name.startswith("experts")]
    others = sum(row.seconds for name, row in rows.items() if not name.startswith("experts"))
    assert whole.seconds == pytest.approx(2.0 + others + max(experts), abs=0.1)
    assert whole.cpu_seconds == pytest.approx(1.0 + sum(row.cpu_seconds for row in rows.values()), abs=0.1)


def test_a_batch_of_a_plan_is_that_which_the_ranks_then_share(photos: Path, tmp_path: Path) -> None:
    run_plan = prepared(photos, tmp_path, ranks=2, batch_size=64)
    (base,) = [stage.training for stage in run_plan.stages if stage.name == "base"]
    assert isinstance(base, TrainingPlan) and base.recipe.batch_size == 20
    assert rows_of(run_plan)["base"].batch_size == 16


def test_pixels_that_are_in_the_cache_or_decoded_each_time_are_not_planned(photos: Path, tmp_path: Path) -> None:
    run_plan = prepared(photos, tmp_path)
    assert rows_of(run_plan)["pixels"].seconds == pytest.approx(16.0)
    without = replace(run_plan, cache_gb=0.0)
    assert "pixels" not in rows_of(without) and cost_of(without, try_them=made_trials).mapped_mb == 0


def test_a_plan_says_what_it_leaves_out_and_fits_a_terminal(photos: Path, tmp_path: Path) -> None:
    answer = cost_of(prepared(photos, tmp_path, ranks=2), try_them=made_trials, report=True)
    assert "the report at the end" in answer.why[-1]
    text = _plan_text(replace(answer, why=[]))
    assert "2 processes" in text and "memory: 2,300 of" in text and max(map(len, text.splitlines())) <= 80


def test_an_error_of_a_rank_is_the_error_of_the_plan(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        """A process that has written its error, and ended."""

        returncode = 65

        def __init__(self, command: list[str], **_: object) -> None:
            error = {"error": "DataError", "message": "no such images"}
            write_json(Path(command[3]) / f"answer-{command[-1]}.json", error)

        def poll(self) -> int:
            return self.returncode

        def kill(self) -> None: ...

        def wait(self) -> None: ...

    run_plan = prepared(photos, tmp_path, ranks=2)
    monkeypatch.setattr(trials.subprocess, "Popen", Failing)
    with pytest.raises(DataError, match="no such images"):
        try_on_ranks(run_plan, photos, TINY, ["base"])


def test_the_peak_of_memory_is_that_of_the_block(tmp_path: Path) -> None:
    with memory.PeakMemory() as peak:
        held = bytearray(b"x") * 200_000_000
        time.sleep(0.05)
        del held
    assert 150e6 < peak.most - peak.before < 300e6
    assert memory.machine_bytes() > peak.most


@pytest.mark.slow
def test_a_plan_on_two_ranks_says_the_memory_that_they_then_take(photos: Path, tmp_path: Path) -> None:
    options = [f"{key}={value}" for key, value in {**TINY, "epochs": 2, "report": "false", "ranks": 2}.items()]
    typed = words(photos, tmp_path / "run", [*options, f"cache={tmp_path / 'cache'}"])
    planned = json.loads(subprocess.run([*typed, "--plan"], check=True, stdout=subprocess.PIPE).stdout)
    happened = watched(typed, tmp_path)
    assert planned["processes"] == 2
    assert planned["memory_mb"] == pytest.approx(happened.memory_mb, rel=0.25)
