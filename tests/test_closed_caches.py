"""A cache that can't be written (on a read-only disk, or of another user) ends no command: the command warns once, and goes on
without it."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from test_collection import obey_permissions
from test_host import STEPS, trained

import divcon
from divcon.api import disk_space, plan, run_plan
from divcon.data.pixels import pixels
from divcon.errors import DiskError
from divcon.files import atomic, caches, integrity
from divcon.machine import measurement

Close = Callable[[Path, int], None]


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> Close:
    """Make writes below a folder fail with an error of the system."""
    make_folder, access = atomic.make_folder, os.access
    monkeypatch.setattr(measurement, "measure", lambda *_: {"precision": "fp32", "channels_last": True})
    monkeypatch.setattr(caches, "_warned", set())

    def closed(folder: Path, number: int) -> None:
        def refuse(path: Path) -> None:
            if path.is_relative_to(folder):
                raise OSError(number, os.strerror(number), str(path))
            make_folder(path)

        def may(path: Any, how: int) -> bool:
            return access(path, how) and not (how == os.W_OK and Path(path).is_relative_to(folder))

        monkeypatch.setattr(atomic, "make_folder", refuse)
        monkeypatch.setattr(os, "access", may)

    return closed


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def all_verbs(photos: Path, where: Path, cache: Path) -> list[Any]:
    """The answers of all verbs that need the cache."""
    options = {**TINY, "precision": "auto", "epochs": 1, "cache": str(cache)}
    answers: list[Any] = [divcon.look(photos, cache=cache)]
    answers.append(divcon.evaluate("random:slim10_w8", photos, tasks="knn", cache=cache))
    answers.append(divcon.embed("random:slim10_w8", photos, out=where / "e.parquet", cache=cache).pictures)
    answers.append([row.stage for row in plan.cost_of(run_plan.prepare_run(photos, where / "run", options)).stages])
    answers.append(divcon.run(photos, out=where / "run", **options).did)
    return [
        *answers,
        integrity.sha256(where / "e.parquet"),
        integrity.sha256(where / "run/student/encoder.safetensors"),
    ]


@pytest.mark.parametrize("number", [errno.EROFS, pytest.param(errno.EACCES, marks=pytest.mark.slow)])
def test_every_verb_goes_on_without_a_cache_that_can_not_be_written_and_says_so_once(
    photos: Path, tmp_path: Path, close: Close, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    for name in ("open", "closed", "with", "without"):
        (tmp_path / name).mkdir()
    expected = all_verbs(photos, tmp_path / "with", tmp_path / "open")
    assert files(tmp_path / "open") and "can't be written" not in caplog.text
    close(tmp_path / "closed", number)
    assert all_verbs(photos, tmp_path / "without", tmp_path / "closed") == expected
    assert caplog.text.count("can't be written") == 1 and os.strerror(number) in caplog.text
    assert "name another folder by cache=" in caplog.text and not files(tmp_path / "closed")


def test_what_a_closed_cache_holds_is_used(
    photos: Path, tmp_path: Path, close: Close, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    expected = all_verbs(photos, tmp_path / "run", tmp_path / "cache")
    before = {path: path.read_bytes() for path in files(tmp_path / "cache")}
    close(tmp_path / "cache", errno.EROFS)
    monkeypatch.setattr(pixels, "decode_shrunk", None)  # nothing is decoded again
    answer = divcon.embed("random:slim10_w8", photos, out=tmp_path / "e.parquet", cache=tmp_path / "cache")
    assert answer.pictures == expected[2]
    assert "can't be written" not in caplog.text
    assert {path: path.read_bytes() for path in files(tmp_path / "cache")} == before


def test_a_damaged_cache_that_can_not_be_mended_is_passed_over(
    photos: Path, tmp_path: Path, close: Close, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embedded(name: str) -> str:
        divcon.embed("random:slim10_w8", photos, out=tmp_path / name, cache=tmp_path / "cache")
        return integrity.sha256(tmp_path / name)

    expected = embedded("before.parquet")
    (file,) = (tmp_path / "cache").rglob("pixels.u8")
    file.write_bytes(bytes(file.stat().st_size))
    os.utime(file, ns=(1, 1))
    close(tmp_path / "cache", errno.EROFS)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.is_relative_to(tmp_path / "cache"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    assert embedded("after.parquet") == expected


def test_no_room_is_asked_for_on_a_disk_that_nothing_is_written_to(
    photos: Path, tmp_path: Path, close: Close, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    close(tmp_path / "cache", errno.EROFS)
    monkeypatch.setattr(disk_space, "free_bytes", lambda path: 0 if path.name == "cache" else 10**12)
    stat = Path.stat

    def apart(path: Path, **how: Any) -> os.stat_result:
        found = list(stat(path, **how))
        return os.stat_result([*found[:2], 7, *found[3:]]) if path.name == "cache" else os.stat_result(found)

    monkeypatch.setattr(Path, "stat", apart)
    planned = run_plan.prepare_run(photos, tmp_path / "run", dict(STEPS))
    images, input_spec = run_plan.open_images(photos, cache=tmp_path / "other"), planned.recipe.base.input_spec
    disk_space.refuse_without_room(planned.folder, tmp_path / "cache", planned.stages[:1], images, input_spec, 8.0)


def test_a_cache_that_is_full_is_an_error_still(photos: Path, tmp_path: Path, close: Close) -> None:
    close(tmp_path / "cache", errno.ENOSPC)
    with pytest.raises(DiskError, match="make room"):
        divcon.embed("random:slim10_w8", photos, out=tmp_path / "e.parquet", cache=tmp_path / "cache")


def test_a_cache_of_somebody_elses_does_not_end_a_run(photos: Path, tmp_path: Path) -> None:
    """The command runs as a user who is not root."""
    (tmp_path / "cache").mkdir(mode=0o555)
    words = [f"{key}={value}" for key, value in {**STEPS, "epochs": 0.1}.items()]
    done = subprocess.run(
        [sys.executable, "-m", "divcon", "run", str(photos), f"out={tmp_path / 'run'}", *words],
        env={**os.environ, "DIVCON_CACHE": str(tmp_path / "cache")}, capture_output=True, text=True,
        preexec_fn=obey_permissions,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr.count("can't be written (Permission denied)") == 1, done.stderr
    assert not list((tmp_path / "cache").iterdir())


def test_no_pixels_are_written_where_none_may_be_kept(photos: Path, tmp_path: Path, cache: Path) -> None:
    mine = tmp_path / "cache"
    first = trained(photos, tmp_path / "run", cache=str(mine), cache_gb=0)
    divcon.embed(tmp_path / "run", photos, out=tmp_path / "e.parquet", cache=mine, cache_gb=0)
    divcon.evaluate(tmp_path / "run", photos, tasks="knn", cache=mine, cache_gb=0)
    assert not (mine / "pixels").exists() and (mine / "index").exists()
    assert first == trained(photos, tmp_path / "kept")
