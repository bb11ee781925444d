"""The table of all methods: its collections, its budget, and that it goes on where it stopped."""

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import results
from divcon import recipes
from divcon.data.labeled.labeled import open_labeled

ROW = {"knn": 0.5, "linear": 0.61, "seconds": 1234.0, "images_per_second": 99.6, "test": 10, "images": 320}


def test_every_small_recipe_has_a_row_and_no_papers_own_has() -> None:
    asked = results.trained()
    small = {name for name in recipes.names() if f"{name}_paper" in recipes.names()} | {"dnc", "nmf", "seer"}
    assert small <= set(asked) and asked["untrained"] == {}
    assert not any("paper" in name or "000" in name for name in asked)
    assert all(own.get("size") == 32 or name in ("nmf", "untrained") for name, own in asked.items())


def test_an_idx_file_is_read_back(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    raw = bytes([0, 0, 8, 3]) + np.array(images.shape, ">i4").tobytes() + images.tobytes()
    (tmp_path / "some.gz").write_bytes(gzip.compress(raw))
    assert np.array_equal(results.idx(tmp_path / "some.gz"), images)


def test_a_part_of_the_images_is_always_the_same_and_in_folders_of_their_kinds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 28, 28), np.uint8), rng.integers(0, 10, 60, np.uint8)
    for name in ("a", "b"):
        results.write_images(tmp_path / name, images, labels, 20)
    written = {name: sorted(p.relative_to(tmp_path / name) for p in (tmp_path / name).rglob("*.png")) for name in "ab"}
    assert written["a"] == written["b"] and len(written["a"]) == 20
    for path in written["a"]:
        assert path.parts[0] == results.KINDS[labels[int(path.stem)]]
        assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / path)), images[int(path.stem)])


@pytest.fixture
def small(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Both collections are the made photos, two recipes are compared, and nothing is written into the repository."""
    for name in results.COLLECTIONS:
        monkeypatch.setitem(results.COLLECTIONS, name, lambda cache: (photos, photos))
    tiny = {"encoder": "slim10_w8", "size": 16, "batch_size": 16, "precision": "fp32"}
    names = {"untrained": {}, "moclr": {"recipe": "moclr", **tiny}, "supervised": {"recipe": "supervised", **tiny}}
    monkeypatch.setattr(results, "trained", lambda: names)
    monkeypatch.setattr(results, "ROWS", tmp_path / "baselines.json")
    monkeypatch.setattr(results, "PAGE", tmp_path / "results.md")
    return ["images=320", f"runs={tmp_path / 'runs'}"]


@pytest.mark.slow
def test_each_recipe_is_shown_the_budget_and_the_page_says_how_it_was_made(small: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        results.main(small)
    assert not end.value.code
    rows = json.loads((tmp_path / "baselines.json").read_text())["rows"]
    assert list(rows) == ["Open Clip Art", "Fashion-MNIST"]
    for its in rows.values():
        assert list(its) == ["untrained", "moclr", "supervised"]
        assert all(its[name]["images"] == pytest.approx(320, abs=16) for name in ("moclr", "supervised"))
        assert len({row["test"] for row in its.values()}) == 1 and all(0 <= row["knn"] <= 1 for row in its.values())
    text = (tmp_path / "results.md").read_text()
    assert "images=320 seed=0" in text and str(tmp_path) not in text and text.count("\n| moclr |") == 1


def test_what_is_measured_is_not_measured_again_and_what_fails_keeps_nothing_from_being_done(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[Path, Any]] = []

    def measured(data: Path, labeled: Path, out: Path, options: Any, own: Any) -> dict[str, float]:
        done.append((out, own))
        if own.get("recipe") == "moclr" and "open-clip-art" in str(out) and not (tmp_path / "failed").exists():
            (tmp_path / "failed").touch()
            raise subprocess.CalledProcessError(70, "divcon")
        return dict(ROW)

    monkeypatch.setattr(results, "measured", measured)
    with pytest.raises(SystemExit, match="failed: Open Clip Art: moclr"):
        results.main(small)
    first = len(done)
    with pytest.raises(SystemExit) as end:
        results.main(small)
    assert not end.value.code and first == 6 and len(done) == 7
    with pytest.raises(SystemExit, match="images=320"):
        results.main(["images=640", small[1]])


def test_a_table_has_a_column_for_each_cell() -> None:
    rows = {"a": {"moclr": dict(ROW), "byol": {**ROW, "knn": 0.7}}, "b": {"moclr": dict(ROW)}}
    head, rule, *lines = results.table(rows)
    assert [line.split(" | ")[0] for line in lines] == ["| byol", "| moclr"]
    assert {line.count("|") for line in (head, rule, *lines)} == {10}
    assert "| 50.0% | 61.0% | 1,234 | 100 |" in lines[1]


@pytest.mark.slow
def test_fashion_mnist_is_three_thousand_images_to_learn_from_and_as_many_to_score(tmp_path: Path) -> None:
    train, labeled = results.fashion(tmp_path)
    folder = open_labeled(labeled, cache=tmp_path / "cache")
    assert folder.train is not None and folder.test is not None and len(folder.classes) == 10
    assert 2990 <= len(folder.train) <= 3000 and 2990 <= len(folder.test) <= 3000 and train == labeled / "train"
