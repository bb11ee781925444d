"""Labeled folders with splits, as archives and competitions have them: wrapper folders, no test classes, similar names."""

from collections.abc import Callable
from pathlib import Path

import pytest
from test_labels import CLASSES, asked, filled, opened, split_of

import divcon
from divcon.api import run_plan
from divcon.api.entry import convert_argument
from divcon.errors import DataError, UsageError


def fullwidth(name: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) for letter in name)


def test_pictures_in_one_folder_below_each_part_have_no_classes(tmp_path: Path, cache: Path) -> None:
    folder = filled(tmp_path, "train/images", "test/images")
    with pytest.raises(
        DataError, match="All is in images/ there: put the folders of the classes right below test/, train/"
    ):
        opened(folder, cache)


@pytest.mark.parametrize(
    ("train", "test"),
    [("seg_train/seg_train", "seg_test/seg_test"), ("train/images", "test/images"), ("train", "test/test"), ("training_set/training_set", "test_set")],
)  # fmt: skip
def test_a_lone_folder_inside_a_part_is_seen_through(train: str, test: str, tmp_path: Path, cache: Path) -> None:
    data = opened(split_of(tmp_path, train, test), cache)
    assert data.classes == list(CLASSES) and data.train is not None and len(data.train) == 12
    assert data.layout.train == (train.split("/")[0],)


def test_a_lone_class_is_not_seen_through(tmp_path: Path, cache: Path) -> None:
    data = opened(filled(tmp_path, "train/cat", "train/dog", "test/cat/a", "test/cat/b"), cache)
    assert data.classes == ["cat", "dog"] and data.test is not None and len(data.test) == 8


@pytest.mark.parametrize("flat", ["test", "test/images"])
def test_that_val_is_tested_on_is_said(
    flat: str, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = filled(split_of(tmp_path, "train", "val"), flat)
    data = opened(folder, cache)
    assert data.layout.test == ("val",) and data.test is not None and len(data.test) > 0
    assert "test/ has no folders of classes, so val/ is tested on" in caplog.text


def test_what_a_refusal_says_to_name_can_be_opened(tmp_path: Path, cache: Path) -> None:
    folder = filled(tmp_path, "train/n0/images", "train/n1/images", "val/images", "test/images")
    with pytest.raises(UsageError, match=r"Name .*/train, which will be split 70/30"):
        opened(folder, cache)
    assert opened(folder / "train", cache).classes == ["n0", "n1"]
    deep = split_of(filled(tmp_path / "deep", "test/test"), "train/train")
    with pytest.raises(UsageError, match=r"Name .*deep/train, which will be split 70/30"):
        opened(deep, cache)
    with pytest.raises(UsageError, match=r"Name .*deep/train/train, which will be split 70/30"):
        opened(deep / "train", cache)
    for split in ("train,val", "train,test"):
        with pytest.raises(DataError, match=r"Name .*/train, which will be split 70/30"):
            opened(folder, cache, split=split)


def test_none_is_none_from_python_too(tmp_path: Path) -> None:
    folder = filled(tmp_path / "pile", "plane", "car", "train", each=8)
    scores = divcon.evaluate("random:slim10", folder, tasks="knn", split="none", workers=1)
    assert scores.classes == 3
    for option in ({"split": "none"}, {"split": "None"}, {"checks.split": "none"}):
        order = run_plan.prepare_run(folder, tmp_path / "run", asked("dnc", folder) | option)
        assert order.record.options["checks.split"] is None
    assert convert_argument("split", ("none", "all")) == ("none", "all")


@pytest.mark.parametrize("name", [str.upper, str.title, "{} ".format, fullwidth, "_{}".format])
def test_classes_whose_names_differ_by_case_or_blanks_are_not_scored_as_wrong(
    name: Callable[[str], str], tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = filled(tmp_path, *(f"train/{each}" for each in CLASSES), *(f"test/{name(each)}" for each in CLASSES))
    with pytest.raises(DataError, match=f"Give each class one name: there are 'bird' and '{name('bird')}'"):
        opened(folder, cache)
    (folder / "test" / name("dog")).rename(folder / "test/dog")
    opened(folder, cache)
    assert f"'bird' and '{name('bird')}', 'cat' and '{name('cat')}'" in caplog.text


def test_a_test_part_of_other_classes_is_refused(tmp_path: Path, cache: Path) -> None:
    folder = filled(tmp_path, "train/cat", "train/dog", "test/oak", "test/elm")
    with pytest.raises(DataError, match=r"no class of test/ \(elm/, oak/\) is one of train/ .* Name .*/train, which"):
        opened(folder, cache)
