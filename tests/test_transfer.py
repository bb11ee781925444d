"""Several labeled folders in one table: the scores of each, as `evaluate` has them, and their means."""

import json
from pathlib import Path

import pytest
from test_kept_scores import files, finished_copy
from test_pipeline import typed
from test_voc import PARTS, write_voc

import divcon
from divcon.api import scoring
from divcon.data.synthetic import make_collection
from divcon.errors import UsageError

UNTRAINED = "random:slim10_w8"
QUICK = {"svm.costs": [1.0], "linear_45.penalties": [0.01]}


@pytest.fixture
def folders(photos: Path, tmp_path: Path) -> list[str]:
    """A folder of classes, another one, and one in the layout of VOC."""
    other = make_collection(tmp_path / "other", 60, size=32, seed=7)
    return [str(photos), str(other), str(write_voc(photos, tmp_path / "voc", PARTS))]


def test_each_row_is_an_evaluation_and_a_mean_is_over_the_folders_that_have_the_score(folders: list[str]) -> None:
    answer = divcon.transfer(UNTRAINED, folders, tasks="knn,svm,linear_45", settings=QUICK)
    assert list(answer.folders) == folders and answer.of == {"knn": 2, "linear_45": 2, "svm": 1}
    penalties = {"linear_45.penalties": [0.01]}
    alone = [divcon.evaluate(UNTRAINED, name, tasks="knn,linear_45", settings=penalties) for name in folders[:2]]
    alone.append(divcon.evaluate(UNTRAINED, folders[2], tasks="svm", settings={"svm.costs": [1.0]}))
    assert list(answer.folders.values()) == alone
    assert answer.means["knn"] == pytest.approx((alone[0].knn.top1 + alone[1].knn.top1) / 2)
    assert answer.means["svm"] == alone[2].tasks["svm"].score


def test_a_table_has_a_row_for_each_folder_and_one_of_means(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", UNTRAINED, *folders, "tasks=knn,svm", "svm.costs=[1.0]"]
    assert typed([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert typed(words) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["20-NN", "svm"] and len(rows) == 4
    for row, name in zip(rows, folders):
        assert row.startswith(name)
    assert rows[0].split()[-2:] == [f"{answer['folders'][folders[0]]['knn']['top1']:.1%}", "-"]
    assert f"{answer['means']['knn']:.1%} (of 2)" in rows[3] and "(of 1)" in rows[3]


def test_folders_that_are_scored_without_labels_have_their_images_counted(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_collection(tmp_path / "other", 60, size=32, seed=7)
    assert typed(["eval", UNTRAINED, str(photos), str(other), "tasks=rankme"]) == 0
    head, _, second, _ = capsys.readouterr().out.splitlines()
    assert "  images  classes" in head and second.removeprefix(str(other)).split()[:2] == ["60", "-"]


def test_a_suite_that_was_cut_off_does_no_folder_twice(
    folders: list[str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_copy(photos, tmp_path)
    first = divcon.transfer(run, folders[:2], tasks="knn")
    assert len(files(run)) == 2
    with monkeypatch.context() as patched:
        patched.setattr(scoring, "encoder_of", lambda *_, **__: pytest.fail("the images were encoded again"))
        assert divcon.transfer(run, folders[:2], tasks="knn") == first
        with pytest.raises(pytest.fail.Exception):
            divcon.transfer(run, folders[:2], tasks="knn", seed=1)


def test_folders_and_tasks_that_can_not_be_are_refused_with_what_to_type(folders: list[str]) -> None:
    for again in (folders[0], f"{folders[0]}/"):
        with pytest.raises(UsageError, match="named twice"):
            divcon.transfer(UNTRAINED, [folders[0], again])
    with pytest.raises(UsageError, match="list of labeled folders"):
        divcon.transfer(UNTRAINED, folders[0])
    with pytest.raises(UsageError, match="unknown task 'knm'"):
        divcon.transfer(UNTRAINED, folders, tasks="knm")
    with pytest.raises(UsageError, match="name one of few_shot_svm, one_vs_rest, svm as well"):
        divcon.transfer(UNTRAINED, folders[2:], tasks="knn")
