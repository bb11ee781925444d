"""A flipped bit, or a missing end, in any file that a run writes: noticed, named with what was expected and what was
found, and mended or refused."""

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from test_pipeline import EPOCHS, finished, stable
from torch import nn

import divcon
from divcon import log, signals
from divcon.data.images import open_images
from divcon.data.index.index import Index
from divcon.errors import DamagedError, StoppedError
from divcon.files.integrity import read_json
from divcon.log import Progress
from divcon.machine import measurement
from divcon.runs.metrics_file import read_lines
from divcon.train import checkpoints
from divcon.train.optimizers import make_optimizer

CUTS = 20
FLIPS = 20
TOLD = re.compile(r"expected (sha256 \w{12}|crc \d+|[\d,]+ bytes), found (sha256 )?[\w,]+|no seal|no checksum|no file")
OPTIONS: dict[str, Any] = {**TINY, "epochs": EPOCHS, "student.teacher_view": "center"}
STAGE = ["encoder.safetensors", "encoder.json", "metrics.jsonl", "stage.json"]
FILES = [
    "run.json", *(f"images/{name}" for name in ("index.arrow", "rejected.csv", "duplicates.csv", "MANIFEST.json")),
    *(f"{stage}/{name}" for stage in ("base", "experts/0", "student") for name in STAGE),
    *(f"clusters/{name}.npy" for name in ("centroids", "sample", "sample_positions")),
    "clusters/clusters.parquet", "clusters/stage.json", "checks/expert_scores.json", "checks/stage.json",
]  # fmt: skip


def flipped(good: bytes, place: float) -> bytes:
    """With one bit changed, at a place from 0 to 1."""
    at = int(place * len(good) * 8)
    return good[: at // 8] + bytes([good[at // 8] ^ 1 << at % 8]) + good[at // 8 + 1 :]


def spoilt(good: bytes, seed: int) -> list[bytes]:
    """The content with one bit flipped, and cut short, at many places: its ends among them."""
    places = np.random.default_rng(seed).random(FLIPS)
    cuts = np.linspace(0, len(good) - 1, CUTS).astype(int)
    return [flipped(good, float(place)) for place in places] + [good[:cut] for cut in cuts]


@functools.cache
def interrupted(photos: Path) -> Path:
    """A run that was stopped in the middle of its student's training, with two checkpoints."""
    folder, asked = photos.parent / "interrupted", list[int]()

    def stop(tick: Progress) -> None:
        if tick.what == "student" and tick.done == 5:
            asked.append(15)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "watch", stop)
        patch.setattr(signals, "_received", asked)
        with pytest.raises(StoppedError):
            divcon.run(photos, out=folder, save_every=0, **OPTIONS)
    return folder


@functools.cache
def undisturbed(photos: Path) -> dict[str, bytes]:
    return stable(divcon.run(photos, out=photos.parent / "undisturbed", **OPTIONS).folder)


def test_every_file_of_a_finished_run_is_tried_here(photos: Path) -> None:
    there = {str(path.relative_to(finished(photos))) for path in finished(photos).rglob("*") if path.is_file()}
    assert there == set(FILES) | {name.replace("experts/0", "experts/1") for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_damage_in_a_finished_run_is_found_and_named_with_what_was_expected(
    photos: Path, tmp_path: Path, name: str
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    good = (run / name).read_bytes()
    for bad in spoilt(good, FILES.index(name)):
        (run / name).write_bytes(bad)
        try:
            said = "; ".join(divcon.status(run, verify=True).damaged)
        except DamagedError as error:
            said = str(error)
        assert str(run / name) in said and TOLD.search(said), (len(bad), said)
    (run / name).write_bytes(good)
    assert divcon.status(run, verify=True).damaged == []


@pytest.mark.parametrize("name", [name for name in FILES if name.split("/")[0] in ("base", "clusters", "experts")])
def test_nothing_is_built_on_a_damaged_stage(photos: Path, tmp_path: Path, name: str) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    divcon.redo(run, "student")
    (run / name).write_bytes(flipped((run / name).read_bytes(), 0.7))
    with pytest.raises(DamagedError) as error:
        divcon.run(photos, out=run, epochs=EPOCHS, **TINY)
    assert str(run / name) in str(error.value) and error.value.code == 65
    assert not (run / "student" / "stage.json").exists()


def test_a_finished_run_that_is_damaged_is_not_called_done(photos: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    last = run / "student/encoder.safetensors"
    last.write_bytes(flipped(last.read_bytes(), 0.7))
    with pytest.raises(DamagedError, match=f"{last}: expected sha256 .*divcon redo {run} student"):
        divcon.run(photos, out=run, epochs=EPOCHS, **TINY)


@pytest.mark.parametrize("name", ["index.arrow", "duplicates.csv", "MANIFEST.json"])
def test_a_damaged_index_of_a_finished_run_is_written_again_by_the_same_command(
    photos: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    file = run / "images" / name
    good, hashes = file.read_bytes(), read_json(run / "images/MANIFEST.json")["sha256"]
    file.write_bytes(flipped(good, 0.5))
    assert divcon.run(photos, out=run, epochs=EPOCHS, **TINY).did == []
    assert "The index is written again" in caplog.text
    assert read_json(run / "images/MANIFEST.json")["sha256"] == hashes
    assert (file.read_bytes() == good or name == "MANIFEST.json") and divcon.status(run, verify=True).damaged == []


def resumed(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], Path]) -> None:
    """Spoil a file of an interrupted run: the run goes on, names the file, and ends in the same bytes."""
    run = shutil.copytree(interrupted(photos), tmp_path / "run")
    bad = spoil(run)
    caplog.clear()
    assert divcon.run(photos, out=run, **OPTIONS).done
    assert str(bad) in caplog.text and TOLD.search(caplog.text), caplog.text
    assert stable(run) == undisturbed(photos)


UNFINISHED = ["state.json", "metrics.jsonl", "teacher_targets.npy", "teacher_targets.json", "model.safetensors", "optimizer.safetensors", "MANIFEST.json"]  # fmt: skip


@pytest.mark.parametrize("name", UNFINISHED)
def test_a_run_goes_on_past_a_damaged_file_of_an_unfinished_stage(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    def spoil(run: Path) -> Path:
        places = [run / "student" / name, *sorted(run.glob(f"student/checkpoints/*/{name}"), reverse=True)]
        bad = next(path for path in places if path.exists())
        bad.write_bytes(flipped(bad.read_bytes(), 0.5))
        return bad

    resumed(photos, tmp_path, caplog, spoil)


@pytest.mark.parametrize("name", UNFINISHED)
def test_damage_in_an_unfinished_stage_is_found_wherever_it_is(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    run = shutil.copytree(interrupted(photos), tmp_path / "run")
    (bad, *_) = [*run.glob(f"student/{name}"), *run.glob(f"student/checkpoints/*/{name}")]
    good, whole = bad.read_bytes(), len(read_lines(run / "student/metrics.jsonl"))
    for content in spoilt(good, UNFINISHED.index(name)):
        bad.write_bytes(content)
        caplog.clear()
        said = "; ".join(divcon.status(run, verify=True).damaged) + caplog.text
        cut = name == "metrics.jsonl" and good.startswith(content)  # what a kill leaves is no damage
        assert cut or (str(bad) in said and TOLD.search(said)), (len(content), said)
        assert len(read_lines(run / "student/metrics.jsonl")) < whole or name != "metrics.jsonl"


def test_two_checkpoints_that_are_whole_are_kept_whatever_lies_between_them(tmp_path: Path) -> None:
    net = nn.Linear(2, 3)
    for step in (1, 2, 3, 4):
        checkpoints.save(tmp_path, step, net, make_optimizer("adamw", net, 0.0))
    file = tmp_path / "step-00000004/model.safetensors"
    file.write_bytes(flipped(file.read_bytes(), 0.9))
    for step, kept in ((5, [3, 4, 5]), (6, [5, 6])):
        checkpoints.save(tmp_path, step, net, make_optimizer("adamw", net, 0.0))
        assert sorted(int(path.name[-8:]) for path in tmp_path.iterdir()) == kept
    assert checkpoints.load(tmp_path, net, make_optimizer("adamw", net, 0.0)) == 6


@pytest.mark.parametrize(
    ("name", "cut"),
    [("index/*.arrow", False), ("pixels/*/pixels.u8", False), ("pixels/*/pixels.u8", True), ("pixels/*/pixels.json", True), ("machine.json", False)],
)  # fmt: skip
def test_a_damaged_cache_is_named_and_made_again(
    photos: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    cut: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measurement, "measure", lambda *_: {"precision": "fp32", "channels_last": True})
    options = {**OPTIONS, "cache": tmp_path / "cache", "recipe": "moclr", "epochs": 1, "precision": "auto"}
    alone = {key: value for key, value in options.items() if "." not in key}
    first = stable(divcon.run(photos, out=tmp_path / "first", **alone).folder)
    (bad,) = (tmp_path / "cache").glob(name)
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2] if cut else flipped(good, 0.6))
    caplog.clear()
    assert stable(divcon.run(photos, out=tmp_path / "again", **alone).folder) == first
    assert str(bad) in caplog.text and TOLD.search(caplog.text), caplog.text
    assert bad.read_bytes() == good or name == "index/*.arrow"
    caplog.clear()
    divcon.run(photos, out=tmp_path / "third", **alone)
    assert "damaged" not in caplog.text


def test_no_flipped_bit_of_the_scans_memory_is_believed(photos: Path, tmp_path: Path) -> None:
    first = open_images(photos, cache=tmp_path).index.table
    (memory,) = (tmp_path / "index").glob("*.arrow")
    for bad in spoilt(memory.read_bytes(), 0)[::8]:
        memory.write_bytes(bad)
        assert open_images(photos, cache=tmp_path).index.table.equals(first)


def test_a_damaged_index_is_not_loaded(photos: Path, tmp_path: Path) -> None:
    open_images(photos, cache=tmp_path).index.save(tmp_path / "index")
    Index.load(tmp_path / "index")
    good = (tmp_path / "index/index.arrow").read_bytes()
    for bad in spoilt(good, 0):
        (tmp_path / "index/index.arrow").write_bytes(bad)
        with pytest.raises(DamagedError, match="expected sha256"):
            Index.load(tmp_path / "index")
