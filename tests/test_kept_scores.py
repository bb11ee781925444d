"""Scores are kept in the run they belong to; one that is damaged or of another encoder is never read."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_pipeline import finished, typed

import divcon
from divcon.api.models import find_model
from divcon.files.atomic import atomic_write
from divcon.files.integrity import read_json, write_json
from divcon.reports.facts import read_run
from divcon.reports.sections.scores import kept_rows
from divcon.reports.sections.summary import summary_lines
from divcon.runs import evals
from divcon.runs.evals import kept_scores


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Path:
    return finished_copy(photos, tmp_path)


def finished_copy(photos: Path, tmp_path: Path) -> Path:
    """A copy of a finished run; no scores are kept there."""
    run = shutil.copytree(finished(photos), tmp_path / "run")
    shutil.rmtree(run / "evals", ignore_errors=True)
    return run


def files(run: Path) -> list[Path]:
    return sorted((run / "evals").iterdir())


def test_the_scores_of_a_stage_are_kept_with_what_they_depend_on(photos: Path, run: Path) -> None:
    answer = divcon.evaluate(run, photos, tasks="knn", seed=3)
    (kept,) = kept_scores(run)
    assert kept.scores == answer and kept.stage == "student" and kept.folder == str(photos.resolve())
    assert (kept.key.tasks, kept.key.seed, kept.key.layer) == (["knn"], 3, "pool")
    assert kept.versions["divcon"] == divcon.__version__ and "linear" not in read_json(files(run)[0])["scores"]


def test_each_stage_split_and_task_has_a_file_and_the_same_again_is_written_over(photos: Path, run: Path) -> None:
    for model in (run, run, run / "student", run / "experts/0", find_model(run / "base")):
        divcon.evaluate(model, photos, tasks="knn")
    others: list[dict[str, Any]] = [{"seed": 1}, {"layer": "projection"}, {"exclude": "disc/*"}]
    for other in others:
        divcon.evaluate(run, photos, tasks="knn", **other)
    assert sorted(kept.stage for kept in kept_scores(run)) == ["base", "experts/0", *["student"] * 4]
    assert len(files(run)) == 6


def test_scores_of_a_model_that_is_in_no_run_are_kept_nowhere(photos: Path, run: Path, tmp_path: Path) -> None:
    divcon.evaluate(f"random:{run}", photos, tasks="knn")
    divcon.evaluate(shutil.copytree(run / "student", tmp_path / "alone"), photos, tasks="knn")
    assert not (run / "evals").exists() and sorted(path.name for path in tmp_path.iterdir()) == ["alone", "run"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "of another version"])
def test_damaged_scores_are_ignored_tolerated_and_written_anew(photos: Path, run: Path, damage: str) -> None:
    answer = divcon.evaluate(run, photos, tasks="knn")
    (file,) = files(run)
    text = file.read_text()
    if damage == "of another version":
        write_json(file, {"stage": "student"})
    else:
        file.write_text({"flipped": text.replace("student", "studeny", 1), "cut": text[:-40], "empty": ""}[damage])
    assert kept_scores(run) == [] and divcon.status(run, verify=True).damaged == []
    divcon.evaluate(run, photos, tasks="knn")
    assert [kept.scores for kept in kept_scores(run)] == [answer]


def test_damaged_scores_are_named_once_with_the_file_to_remove(
    photos: Path, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    divcon.evaluate(run, photos, tasks="knn")
    (file,) = files(run)
    file.write_text(file.read_text()[:-40])
    facts = read_run(run)
    caplog.set_level("INFO", "divcon")
    summary_lines(facts, None)
    assert kept_rows(facts) == []
    (said,) = [record.message for record in caplog.records if "evals" in record.message]
    assert said.count(file.name) == 1 and "remove this file" in said and "folder" not in said


def test_scores_of_an_encoder_that_was_replaced_are_not_read(photos: Path, run: Path) -> None:
    divcon.evaluate(run, photos, tasks="knn")
    shutil.copy(run / "base" / "encoder.json", run / "student" / "encoder.json")
    assert kept_scores(run) == []
    divcon.redo(run, "student")
    assert kept_scores(run) == [] and len(files(run)) == 1


def test_a_stage_name_of_a_stranger_reads_no_file_outside_of_the_run(photos: Path, run: Path, tmp_path: Path) -> None:
    divcon.evaluate(run, photos, tasks="knn")
    (kept,) = kept_scores(run)
    shutil.copytree(run / "student", tmp_path / "outside")
    content = {**read_json(files(run)[0]), "stage": "../outside"}
    write_json(run / "evals" / "stranger.json", content)
    assert kept_scores(run) == [kept]


def test_a_run_that_can_not_be_written_to_gets_a_warning_and_an_answer(
    photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def closed(path: Path, value: object) -> None:
        with atomic_write(Path("/proc/divcon") / path.name):
            raise AssertionError("nothing can be written to /proc")

    monkeypatch.setattr(evals, "write_json", closed)
    assert divcon.evaluate(run, photos, tasks="knn").knn is not None
    assert "the scores are not kept in the run: can't write" in caplog.text


def test_scores_are_not_written_through_a_link_out_of_the_run(
    photos: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outside").mkdir()
    (run / "evals").symlink_to(tmp_path / "outside")
    divcon.evaluate(run, photos, tasks="knn")
    assert not any((tmp_path / "outside").iterdir()) and "leads out of the run" in caplog.text


def test_scores_of_a_folder_whose_name_is_not_utf8_can_be_read_back(photos: Path, run: Path, tmp_path: Path) -> None:
    labeled = shutil.copytree(photos, tmp_path / os.fsdecode(b"caf\xe9"))
    divcon.evaluate(run, labeled, tasks="knn")
    (kept,) = kept_scores(run)
    assert kept.folder.endswith(r"caf\xe9") and json.dumps(kept.scores.as_json())


def test_the_typed_verb_keeps_scores_too(photos: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(["eval", str(run / "base"), str(photos), "tasks=knn", "--json"]) == 0
    (kept,) = kept_scores(run)
    assert json.loads(capsys.readouterr().out) == replace(kept.scores, model=str(run / "base")).as_json()
