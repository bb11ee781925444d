"""A pipeline is one file: its function is walked to plan a run, and done by it."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY

import divcon
from divcon import recipes
from divcon.api import run_plan
from divcon.cli import main
from divcon.errors import UsageError
from divcon.machine import Machine
from divcon.pipelines import single
from divcon.pipelines.recipe import pipeline_of
from divcon.runs.recorder import Recorder

TWICE = '''
"""Learn twice: a second network, by the same method, starts where the first one ended."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from divcon.data.images import Images
from divcon.nets.trained import Trained
from divcon.recipes.options import Options
from divcon.pipelines.recipe import Recipe
from divcon.recipes.small import small_pretrain
from divcon.runs.run import Run
from divcon.stages.pretrain import Pretrain, pretrain

about = "one method, twice"
defaults: dict[str, object] = {}


@dataclass(frozen=True, kw_only=True)
class Twice(Recipe):
    base: Pretrain
    halves: Pretrain
    starts_from_base: ClassVar[tuple[str, ...]] = ("halves",)


def twice(run: Run, images: Images, recipe: Twice) -> Trained:
    base = run.stage("base", pretrain, images, recipe.base)
    middle = len(images) // 2
    parts = [images.subset(part) for part in (np.arange(middle), np.arange(middle, len(images)))]
    first, second = run.stages("halves", pretrain, [(part, recipe.halves.share(1 / 2), base) for part in parts])
    return run.stage("again", pretrain, images, recipe.base, second)


def recipe(options: Options, n: int) -> Twice:
    base = small_pretrain(options, n, samples_seen=options.samples_seen(n) / 2)
    return Twice(base=base, halves=replace(base, start="base"))
'''


@pytest.fixture
def twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline in one file, where the package finds its own."""
    package = importlib.import_module("divcon.recipes")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/twice.py").write_text(TWICE)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "recipes")])
    monkeypatch.delitem(sys.modules, "divcon.recipes.twice", raising=False)


@pytest.fixture
def options() -> dict[str, object]:
    return {key: value for key, value in TINY.items() if "." not in key} | {"recipe": "twice", "epochs": 2}


def test_a_pipeline_in_one_file_is_listed_planned_and_done(
    twice: None, photos: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    assert "twice" in recipes.names() and recipes.named("twice").about == "one method, twice"
    planned = divcon.plan(photos, out=tmp_path / "run", **options)
    stages = ["base", "halves/0", "halves/1", "again"]
    trainings = [row for row in planned.stages if row.stage != "pixels"]
    assert [row.stage for row in trainings] == stages
    assert divcon.run(photos, out=tmp_path / "run", **options).did == stages
    status = divcon.status(tmp_path / "run").stages
    for row in trainings:
        done = json.loads((tmp_path / "run" / row.stage / "stage.json").read_text())["summary"]
        assert (done["steps"], done["batch_size"]) == (row.steps, row.batch_size)
    assert [stage.state for stage in status.values()] == ["done"] * 4
    assert divcon.load(tmp_path / "run").num_features > 0


def test_a_stage_of_a_new_pipeline_is_chosen_by_name_and_a_typo_in_it_is_refused(
    twice: None, photos: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    assert divcon.run(photos, out=tmp_path / "run", only="base", **options).did == ["base"]
    assert divcon.run(photos, out=tmp_path / "run", only="halves/1", **options).did == ["halves/1"]
    planned = divcon.plan(photos, out=tmp_path / "run", only="halves", **options)
    assert [row.stage for row in planned.stages if row.steps] == ["halves/0", "halves/1"]
    with pytest.raises(UsageError, match=r"unknown stage 'halfes'; did you mean 'halves'\?"):
        divcon.run(photos, out=tmp_path / "run", only="halfes", **options)
    with pytest.raises(UsageError, match=r"unknown option 'halves.lrr'; did you mean 'halves.lr'\?"):
        divcon.run(photos, out=tmp_path / "run", **{**options, "halves.lrr": 0.1})


def test_the_command_line_runs_a_new_pipeline(
    twice: None,
    photos: Path,
    tmp_path: Path,
    options: dict[str, object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [f"{key}={value}" for key, value in options.items()]
    monkeypatch.setattr(
        sys, "argv", ["divcon", "run", str(photos), f"out={tmp_path / 'run'}", *words, "--plan", "--json"]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert [row["stage"] for row in json.loads(capsys.readouterr().out)["stages"]][-1] == "again"


def test_a_recorder_does_nothing_and_finds_the_stages_that_the_run_does(photos: Path, tmp_path: Path) -> None:
    planned = run_plan.prepare_run(photos, tmp_path / "run", {**TINY, "epochs": 2})
    assert [stage.name for stage in planned.stages] == [
        "base",
        "clusters",
        "experts/0",
        "experts/1",
        "checks",
        "student",
    ]
    assert not (tmp_path / "run").exists()
    recorder = Recorder(Machine(), tmp_path)
    student = pipeline_of(planned.recipe)(recorder, planned.images, planned.recipe)
    assert student.spec == planned.recipe.student.encoder and [stage.name for stage in recorder.planned] == [
        stage.name for stage in planned.stages
    ]
    sizes = [stage.training.images for stage in planned.stages if stage.group == "experts"]
    assert sum(sizes) == len(planned.images) and np.ptp(sizes) <= 1


def test_the_function_of_a_recipe_is_the_one_that_takes_it() -> None:
    options = recipes.settled(recipes.Options(recipe="moclr"), 10_000, "cpu")[0]
    assert pipeline_of(recipes.named("moclr").recipe(options, 10_000)) is single.single
