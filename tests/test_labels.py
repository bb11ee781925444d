"""Labeled folders with copies, contradictions and files of the operating system."""

import json
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_pipeline import typed

import divcon
from divcon.api import run_plan
from divcon.data.index.index import Index
from divcon.data.index.table import Found
from divcon.data.labeled.labeled import Labeled, open_labeled
from divcon.data.labeled.layout import Split
from divcon.data.sources.names import is_hidden
from divcon.errors import DataError, UsageError
from divcon.evals.split import train_test_split
from divcon.pipelines.supervised import Truth, training_images

CLASSES = ("bird", "cat", "dog")
LITTER = (
    ".ipynb_checkpoints", ".Trash-1000/files", "@eaDir/cat", ".@__thumb", "$RECYCLE.BIN/S-1-5-21", "lost+found", "__MACOSX/cat",
    "System Volume Information", "#recycle", "found.000", "LOST.DIR",
)  # fmt: skip


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def filled(root: Path, *folders: str, each: int = 4) -> Path:
    """Make a folder with different images in each of these subfolders."""
    for i, folder in enumerate(folders):
        for j in range(each):
            picture(root / folder / f"{j}.png", 100 * i + j)
    return root


def split_of(root: Path, *parts: str, each: int = 4) -> Path:
    return filled(root, *(f"{part}/{name}" for part in parts for name in CLASSES), each=each)


def opened(folder: Path, cache: Path, split: Split = "auto") -> Labeled:
    return open_labeled(folder, split=split, cache=cache, workers=1)


def asked(recipe: str, labels: Path, **options: Split) -> dict[str, object]:
    return {"recipe": recipe, "labels": str(labels), "encoder": "slim10_w8", "size": 16, "epochs": 1, **options}


def sizes(data: Labeled) -> dict[str, int]:
    return dict(zip(data.classes, np.bincount(data.labels, minlength=len(data.classes)).tolist()))


# parts


@pytest.mark.parametrize("test", ["val", "Test"])
def test_an_evaluation_learns_from_one_part_and_tests_on_the_other(
    test: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split_of(tmp_path / "pile", "train", test)
    picture(tmp_path / "pile/overview.png", 9999)
    assert typed(["eval", "random:slim10", str(tmp_path / "pile"), "tasks=knn", "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert (account["train"], account["test"], account["classes"]) == (12, 12, 3)
    assert account["parts"] == {"train": ["train"], "test": [test], "left_out": []}
    assert account["left_out"]["no_class"] == 1
    assert typed(["eval", "random:slim10", str(tmp_path / "pile"), "tasks=knn"]) == 0
    assert f"3 classes; not used: 1 (no class); learned from train/, tested on {test}/)" in capsys.readouterr().out


def test_of_three_parts_the_left_out_one_is_counted_and_how_to_learn_from_it_is_said(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = split_of(tmp_path, "train", "val", "test")
    data = opened(folder, cache)
    assert data.left_out["other_folders"] == 12 and len(data.labels) == 24
    assert "files in val/: 12. To train on val/ too, type split=train+val,test" in caplog.text
    more = opened(folder, cache, split="train+val,test")
    assert more.train is not None and len(more.train) == 24 and len(more.labels) == 36


def test_split_settles_a_doubt_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path, "plane", "car", "train")
    assert typed(["eval", "random:slim10", str(folder), "tasks=knn"]) == 64
    assert "split=none" in capsys.readouterr().err
    assert typed(["eval", "random:slim10", str(folder), "tasks=knn", "split=none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == 3


def test_split_without_labels_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="labels=FOLDER"):
        divcon.run(photos, out=tmp_path / "run", split="train,val")


def test_what_a_run_learns_with_labels_is_laid_out_as_its_evaluation(tmp_path: Path, cache: Path) -> None:
    folder = split_of(tmp_path / "pile", "2023", "2024")
    known = training_images(Truth(labels=str(folder), split="2023,2024"), cache, 1)
    assert {name.split(b"/")[0] for name in known.images.names(np.arange(12))} == {b"2023"}
    order = run_plan.prepare_run(folder, tmp_path / "run", asked("supervised", folder, split="2023,2024"))
    assert order.record.options["truth.split"] == "2023,2024"
    checked = run_plan.prepare_run(folder, tmp_path / "run", asked("dnc", folder, split=None))
    assert checked.record.options["checks.split"] is None


def test_a_run_with_a_doubtful_folder_of_labels_is_refused_before_it_begins(photos: Path, tmp_path: Path) -> None:
    folder = filled(tmp_path / "pile", "cat", "dog", "train")
    for recipe in ("supervised", "dnc"):
        with pytest.raises(UsageError, match="split=none"):
            run_plan.prepare_run(photos, tmp_path / "run", asked(recipe, folder))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("above", ["images", "data/images"])
def test_a_folder_too_high_is_refused_by_naming_the_right_one(above: str, tmp_path: Path, cache: Path) -> None:
    folder = filled(tmp_path, *(f"{above}/{name}" for name in CLASSES))
    with pytest.raises(DataError, match=f"All is in {above}/, which holds bird/, cat/, dog/: name .*/{above}$"):
        opened(folder, cache)
    assert opened(folder / above, cache).classes == list(CLASSES)


def test_parts_without_folders_of_classes_have_no_classes(tmp_path: Path, cache: Path) -> None:
    folder = filled(tmp_path, "train", "test")
    with pytest.raises(DataError, match=r"0 classes below test/, train/.*type split=none"):
        opened(folder, cache)


@pytest.mark.parametrize("above", ["", "train/"])
@pytest.mark.parametrize(("pictures", "masks"), [("images", "masks"), ("JPEGImages", "SegmentationClass")])
def test_a_folder_of_masks_beside_the_pictures_makes_no_two_classes(
    pictures: str, masks: str, above: str, tmp_path: Path, cache: Path
) -> None:
    below = [above, above.replace("train", "test")]
    folder = filled(tmp_path, *dict.fromkeys(f"{part}{name}" for part in below for name in (pictures, masks)))
    with pytest.raises(UsageError, match=f"{pictures}/ seems to hold the images of several classes, and {masks}/ "):
        opened(folder, cache)
    assert len(opened(folder, cache, split="train,test" if above else None).classes) == 2


def test_classes_that_are_only_tested_on_are_said(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = split_of(tmp_path, "train", "test")
    (folder / "test/cat").rename(folder / "test/Cat")
    opened(folder, cache)
    assert "classes without an image to train on in train/: 1." in caplog.text and "Cat/" in caplog.text


# hidden names


@pytest.mark.parametrize("litter", LITTER)
def test_what_a_system_leaves_is_no_class_and_takes_no_picture(litter: str, tmp_path: Path, cache: Path) -> None:
    folder = filled(tmp_path, *CLASSES)
    shutil.copytree(folder / "cat", folder / litter)
    picture(folder / litter / "thumb.png", 9999)
    data = opened(folder, cache)
    assert sizes(data) == dict.fromkeys(CLASSES, 4) and data.left_out["hidden"] == 5
    assert not any(is_hidden(name) for name in data.images.names(np.arange(12)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"cat/.1.png.Xy12", True), (b".cat/1.png", True), (b"a/@EADIR/b/1.png", True), (b"cat/._1.png", True), (b"FOUND.012/1.chk", True),
        (b"cat/1.png", False), (b"./cat/1.png", False), (b"../cat/1.png", False), (b"a.b/c..d/1.png", False), (b"eaDir/1.png", False),
        (b"my lost+found/1.png", False), (b"found.png", False), (b"found.0001/1.png", False),
    ],
)  # fmt: skip
def test_a_name_is_hidden_for_a_dot_or_a_system(name: bytes, expected: bool) -> None:
    assert is_hidden(name) is expected


def test_of_the_names_of_a_picture_a_visible_one_is_used() -> None:
    names = [b"#recycle/a.png", b".cache/a.png", b"@eaDir/a.png", b"zoo/a.png", b"zoo/b.png"]
    index = Index.of(Found(name, 16, 16, 9, bytes(32)) for name in names)
    assert index.table["path_bytes"].to_pylist() == [b"zoo/a.png", *names[:3], b"zoo/b.png"]
    seen = Index.of([Found(b"zoo/b.png", 16, 16, 9, bytes(32))])
    assert index.fingerprint == seen.fingerprint


# pictures with several names


def test_a_picture_of_two_classes_is_counted_named_and_left_out(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = filled(tmp_path, *CLASSES)
    shutil.copy(folder / "dog/0.png", folder / "bird/00.png")
    os.link(folder / "dog/1.png", folder / "cat/link.png")
    (folder / "cat/soft.png").symlink_to(folder / "bird/1.png")
    data = opened(folder, cache)
    assert sizes(data) == {"bird": 3, "cat": 4, "dog": 2} and data.left_out["several_classes"] == 3
    assert "images in the folders of several classes: 3." in caplog.text
    assert "bird/00.png = dog/0.png" in caplog.text and "cat/link.png = dog/1.png" in caplog.text


def test_a_contradiction_between_parts_is_one_too(tmp_path: Path, cache: Path) -> None:
    folder = split_of(tmp_path, "train", "test")
    shutil.copy(folder / "train/dog/0.png", folder / "test/cat/dog.png")
    data = opened(folder, cache)
    assert data.left_out["several_classes"] == 1 and data.left_out["train_and_test"] == 0
    assert len(data.labels) == 23 and sizes(data) == {"bird": 8, "cat": 8, "dog": 7}


def test_copies_in_one_class_count_once(tmp_path: Path, cache: Path) -> None:
    folder = filled(tmp_path, *CLASSES)
    for i in range(3):
        shutil.copy(folder / "cat/0.png", folder / f"cat/again {i}.png")
    shutil.copy(folder / "cat/1.png", folder / "outside.png")  # first in no class, and a cat all the same
    (folder / "cat/1.png").rename(folder / "cat/zzz.png")
    data = opened(folder, cache)
    assert sizes(data) == dict.fromkeys(CLASSES, 4) and data.left_out["several_classes"] == 0


def test_no_score_is_of_a_picture_that_was_learned_from(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = split_of(tmp_path, "train", "test")
    shutil.copy(folder / "test/cat/0.png", folder / "train/cat/a.png")
    shutil.copy(folder / "test/cat/0.png", folder / "train/cat/b.png")
    os.link(folder / "train/dog/1.png", folder / "test/dog/z.png")
    data = opened(folder, cache)
    train, test, _ = train_test_split(data, 0)
    assert (len(train), len(test)) == (11, 13) and not set(train) & set(test)
    assert data.left_out["train_and_test"] == 2
    assert "images in train/ and in test/: 2. They are tested on, and not trained on" in caplog.text


@pytest.mark.parametrize("name", ["café", "한국", "phở"])
def test_a_class_is_one_however_its_accents_are_written(name: str, tmp_path: Path, cache: Path) -> None:
    composed, apart = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    folder = filled(tmp_path, f"train/{composed}", "train/the", f"test/{apart}", "test/the")
    data = opened(folder, cache)
    assert sizes(data) == {composed: 8, "the": 8}


def test_a_class_whose_name_is_no_text_can_be_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path, "cat", "odd")
    (folder / "odd").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
    assert typed(["eval", "random:slim10", str(folder), "tasks=knn", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["knn"]["per_class"]) == {"cat", r"caf\xe9"}


def test_an_evaluation_takes_patterns_of_paths(tmp_path: Path) -> None:
    folder = filled(tmp_path, *CLASSES, "noise")
    without = divcon.evaluate("random:slim10", folder, tasks="knn", exclude="noise/*", workers=1)
    only = divcon.evaluate("random:slim10", folder, tasks="knn", include=("cat/*", "dog/*"), workers=1)
    assert (without.classes, only.classes) == (3, 2)


# few labels


def test_two_pictures_a_class_have_a_score_by_neighbors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path, *CLASSES, each=2)
    assert typed(["eval", "random:slim10", str(folder), "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert set(account["knn"]["per_class"]) == set(CLASSES) and account["linear"]["top1"] is None
    assert typed(["eval", "random:slim10", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("20-NN ") and "linear: not scored: no class has two training images" in out
    assert typed(["eval", "random:slim10", str(folder), "tasks=linear"]) == 65
