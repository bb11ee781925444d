"""The verbs neighbors, pick and duplicates, on a small run with copies and with names of strangers in its collection."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from test_cli import told
from test_pipeline import typed

import divcon
from divcon.api import seen_images
from divcon.api.features import run_features
from divcon.curation.picks import usual_number
from divcon.data.index.index import Index
from divcon.data.synthetic import make_collection
from divcon.errors import InputError, UsageError
from divcon.files.caches import cache_folder
from divcon.files.text import counted
from divcon.runs.folder import RunFolder

HOSTILE = b"=1+1.png", b"a\nb.png", b"\xff.png", b"<b>x.png"
HOW = "diverse", "typical", "odd", "balanced"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection in images/ and a run of it in run/. large.png and small.png are one picture."""
    folder = tmp_path_factory.mktemp("picked")
    files = sorted(make_collection(folder / "images", 60).rglob("*.png"))
    small = Image.open(files[0])
    small.save(folder / "images" / "small.png", compress_level=9)
    files[0].unlink()
    small.resize((2 * small.width, 2 * small.height), Image.Resampling.NEAREST).save(folder / "images" / "large.png")
    for name, file in zip(HOSTILE, files[1:]):
        file.rename(folder / "images" / os.fsdecode(name))
    divcon.run(folder / "images", out=folder / "run", recipe="simclr", epochs=1, size=16, precision="fp32")
    return folder


def whitened(place: Path) -> np.ndarray:
    return run_features(place / "run", cache=cache_folder()).compared().double().numpy()


def names(place: Path) -> list[bytes]:
    return Index.load(RunFolder(place / "run").images).table["path_bytes"].to_pylist()


def position(place: Path, name: str) -> int:
    return names(place).index(name.encode())


# neighbors


def test_neighbors_are_those_of_a_loop_over_all_images(place: Path) -> None:
    answer = divcon.neighbors(place / "run", place / "images" / "large.png", k=12)
    x, own = whitened(place), position(place, "large.png")
    cosines = [float(row @ x[own]) for row in x]
    expected = sorted((i for i in range(len(x)) if i != own), key=lambda i: -cosines[i])[:12]
    (found,) = answer.found
    assert found.position == own and answer.images == len(x)
    assert [row.position for row in found.neighbors] == expected
    assert [row.cosine for row in found.neighbors] == pytest.approx([cosines[i] for i in expected], abs=0.02)
    assert [os.fsencode(row.path) for row in found.neighbors] == [names(place)[i] for i in expected]
    assert found.neighbors[0].path == "small.png"


def test_a_picture_from_elsewhere_may_be_in_the_collection_or_not(place: Path, tmp_path: Path) -> None:
    copy, edited = tmp_path / "copy.png", tmp_path / "edited.png"
    shutil.copy(place / "images" / "small.png", copy)
    Image.open(copy).save(edited, compress_level=1)
    both = divcon.neighbors(place / "run", [str(copy), str(edited)], k=3)
    assert [found.position for found in both.found] == [position(place, "small.png"), None]
    first, second = ([row.path for row in found.neighbors] for found in both.found)
    assert first[0] == "large.png" and set(second[:2]) == {"small.png", "large.png"}


def test_a_picture_has_all_images_as_neighbors_and_no_more(place: Path) -> None:
    picture, n = place / "images" / "small.png", len(names(place))
    assert len(divcon.neighbors(place / "run", picture, k=n - 1).found[0].neighbors) == n - 1
    with pytest.raises(UsageError, match=rf"k={n}: the run has {n - 1} other images; type k={n - 1} or less"):
        divcon.neighbors(place / "run", picture, k=n)


def test_too_many_images_are_refused_before_features_are_computed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the features are computed")

    monkeypatch.setattr(seen_images, "run_features", refuse)
    run, n = place / "run", len(names(place))
    with pytest.raises(UsageError, match=rf"n={n + 1}: the run has {n} images"):
        divcon.pick(run, n=n + 1)
    with pytest.raises(UsageError, match=rf"k={n}: the run has {n - 1} other images"):
        divcon.neighbors(run, place / "images" / "small.png", k=n)
    with pytest.raises(AssertionError, match="the features are computed"):
        divcon.pick(run, n=n)


def test_what_is_no_picture_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.png").write_text("no picture")
    run, picture = str(place / "run"), str(place / "images" / "small.png")
    with pytest.raises(InputError, match=r"x\.png can't be shown to a network"):
        divcon.neighbors(run, tmp_path / "x.png")
    assert told(["neighbors", run, "gone.png"], capsys)[0] == 66
    assert told(["neighbors", run, "k=3"], capsys) == (
        64,
        f"divcon: the picture is missing: type divcon neighbors {run} PICTURE k=3",
    )
    assert told(["neighbors", run, str(tmp_path)], capsys)[0] == 66
    assert told(["neighbors", run, picture, "k=0"], capsys)[0] == 64
    assert told(["neighbors", run, picture, "kk=3"], capsys) == (64, "divcon: unknown option 'kk'; did you mean 'k'?")
    assert told(["neighbors", str(tmp_path), picture], capsys)[0] == 66


def test_neighbors_are_drawn_and_told(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, pictures = str(place / "run"), [str(place / "images" / name) for name in ("small.png", "large.png")]
    sheet = tmp_path / "sheet.png"
    assert typed(["neighbors", run, *pictures, "k=5", f"sheet={sheet}"]) == 0
    shown = capsys.readouterr().out
    assert f"is image {position(place, 'small.png')} of the collection" in shown and shown.count("cosine") == 2
    drawn = np.asarray(Image.open(sheet))
    assert drawn.shape[0] == 2 * 96
    assert (drawn[:96, : 6 * 96] != 255).any() and (drawn[:, 6 * 96 :] == 255).all()
    with pytest.raises(UsageError, match=r"lies inside the collection"):
        divcon.neighbors(run, pictures[0], sheet=place / "images" / "sheet.png")


def test_the_images_are_found_once_for_features_and_sheet(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, picture = shutil.copytree(place / "run", tmp_path / "run"), place / "images" / "small.png"
    shutil.rmtree(run / "features", ignore_errors=True)
    for words in (["neighbors", run, picture, "k=3"], ["duplicates", run, "threshold=0.2"]):
        assert typed([*map(str, words), f"sheet={tmp_path / 'sheet.png'}"]) == 0
        assert capsys.readouterr().err.count("found ") == 1


# pick


@pytest.mark.parametrize("how", HOW)
def test_the_files_of_a_pick_have_the_rows_of_the_answer(place: Path, tmp_path: Path, how: str) -> None:
    outs = [tmp_path / f"p{suffix}" for suffix in (".csv", ".parquet")]
    answers = [divcon.pick(place / "run", n=20, how=how, out=out) for out in outs]
    rows = answers[0].picked
    assert rows == answers[1].picked == divcon.pick(place / "run", n=20, how=how).picked
    table = pq.read_table(outs[1]).to_pylist()
    assert [row["path_bytes"] for row in table] == [names(place)[row.position] for row in rows]
    assert [row["path"] for row in table if row["path"] is not None] == [
        row.path for row in rows if row.path.isprintable() or "\n" in row.path
    ]
    assert [(row["position"], row["cluster"], row["reason"]) for row in table] == [
        (row.position, row.cluster, row.reason) for row in rows
    ]
    with outs[0].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(int(line["position"]), line["reason"]) for line in lines] == [(row.position, row.reason) for row in rows]
    assert all(line["path"].isprintable() and line["path"][0] != "=" for line in lines)


def test_a_list_of_paths_is_written_byte_for_byte_or_refused(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "paths.txt"
    paths = [row.path for row in divcon.pick(place / "run", n=1, out=out).picked]
    assert out.read_bytes() == os.fsencode(paths[0]) + b"\n"
    out.unlink()
    everything = len(names(place))
    with pytest.raises(UsageError, match=r"a\\nb\.png has a line break in its name"):
        divcon.pick(place / "run", n=everything, how="odd", out=out)
    assert not out.exists()


def test_a_pick_of_everything_is_everything(place: Path) -> None:
    n = len(names(place))
    for how in ("typical", "odd", "balanced"):
        assert sorted(row.position for row in divcon.pick(place / "run", n=n, how=how).picked) == list(range(n))


def test_what_can_not_be_picked_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, n = str(place / "run"), len(names(place))
    assert told(["pick", run, f"n={n + 1}"], capsys) == (
        64,
        f"divcon: n={n + 1}: the run has {n} images; type n={n} or less",
    )
    assert told(["pick", run, "n=0"], capsys)[0] == 64
    assert told(["pick", run, "n=5", "out=a.xls"], capsys) == (
        64,
        "divcon: out=a.xls: let the name end in .csv, .parquet or .txt",
    )
    code, message = told(["pick", run, "n=5", "how=best"], capsys)
    assert code == 64 and "'diverse', 'typical', 'odd' or 'balanced'" in message


def test_a_number_that_nobody_typed_is_a_part_of_the_images_and_never_all(place: Path) -> None:
    assert [usual_number(n) for n in (2, 60, 100, 435, 5000, 10_000, 10**6)] == [1, 30, 50, 50, 500, 1000, 1000]
    assert all(usual_number(n) < n for n in range(2, 3000))
    assert len(divcon.pick(place / "run").picked) == usual_number(len(names(place)))


def test_a_pick_is_told_as_text_and_as_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(place / "run")
    assert typed(["pick", run, "n=7", "how=balanced"]) == 0
    shown = capsys.readouterr().out
    assert (
        shown.startswith(f"7 of {len(names(place))} images, balanced: hierarchical k-means") and "and 2 more" in shown
    )
    assert typed(["pick", run, "n=7", "how=odd", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == divcon.pick(run, n=7, how="odd").as_json()
    assert all(row["cluster"] is None for row in answer["picked"])


# duplicates


def test_the_largest_picture_of_a_group_is_kept(place: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "d.csv", tmp_path / "d.png"
    answer = divcon.duplicates(place / "run", threshold=0.97, out=out, sheet=sheet)
    group = next(group for group in answer.groups if group.keep.path == "large.png")
    assert [other.path for other in group.others] == ["small.png"]
    assert answer.others == sum(len(group.others) for group in answer.groups)
    with out.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if "ge.png" in line["path"] or "small" in line["path"]]
    assert [(line["path"], line["keep"]) for line in lines] == [("large.png", "yes"), ("small.png", "no")]
    assert Image.open(sheet).height == 96 * min(40, len(answer.groups))


def test_duplicates_are_the_pairs_of_a_loop(place: Path) -> None:
    x = torch.from_numpy(whitened(place)).half().double().numpy()
    answer = divcon.duplicates(place / "run", threshold=0.4)
    grouped = {image.position: i for i, group in enumerate(answer.groups) for image in (group.keep, *group.others)}
    for i in range(len(x)):
        for j in range(i):
            assert x[i] @ x[j] < 0.4 or grouped[i] == grouped[j]


def test_where_nothing_looks_alike_no_sheet_is_drawn(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "d.png"
    answer = divcon.duplicates(place / "run", threshold=1, sheet=sheet)
    assert not answer.groups and answer.sheet is None and not sheet.exists()
    assert typed(["duplicates", str(place / "run"), "threshold=0.97"]) == 0
    said, n = capsys.readouterr().out, len(divcon.duplicates(place / "run", threshold=0.97).groups)
    assert "large.png" in said and said.startswith(f"{counted(n, 'group')} of images that look alike (cosine 0.97")
    assert told(["duplicates", str(place / "run"), "threshold=2"], capsys)[0] == 64
    assert told(["duplicates", str(place / "run"), "out=a.txt"], capsys)[0] == 64
