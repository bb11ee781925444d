"""Full, small and read-only disks: refused before the work if possible, else a run ends, loses nothing and can go on."""

import os
import resource
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
from conftest import TINY
from test_collection import obey_permissions
from test_pipeline import EPOCHS, command, finished, stable

import divcon
from divcon import failpoints
from divcon.api import disk_space
from divcon.api.plan import cost_of
from divcon.api.run_plan import prepare_run
from divcon.errors import DiskError
from divcon.train import target_cache

SIZES = [int(size) for size in np.geomspace(64, 4e5, 20)]  # bytes; the largest file of the run has 300,000
Usage = namedtuple("Usage", "total used free")


def full_then_roomy(photos: Path, folder: Path, size: int) -> str:
    """Do a run with a limit on the size of files, which looks like a full disk, then without; return its first message."""
    words = command(photos, folder / "run", f"cache={folder / 'cache'}", "save_every=0")
    code, said = processes.done(words, limits={resource.RLIMIT_FSIZE: size})
    assert code == 74, (code, said)
    assert "Traceback" not in said and str(folder) in said, said
    assert processes.done(words)[0] == 0
    assert stable(folder / "run") == stable(finished(photos))
    assert not list(folder.rglob("*.part"))
    return said.splitlines()[-1]


@pytest.mark.parametrize("size", [SIZES[16]])
def test_a_disk_that_fills_up_ends_a_run_that_then_goes_on_to_the_same_bytes(
    photos: Path, tmp_path: Path, size: int
) -> None:
    said = full_then_roomy(photos, tmp_path, size)
    assert "What was finished is kept; make room, then type the same command again" in said


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_disk_full_at_any_size_ends_a_run_that_then_goes_on_to_the_same_bytes(
    photos: Path, tmp_path: Path, size: int
) -> None:
    full_then_roomy(photos, tmp_path, size)


def test_a_log_on_a_full_disk_does_not_end_a_run(photos: Path, tmp_path: Path) -> None:
    words = command(photos, tmp_path / "run", "--only", "base", epochs=0.5)
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([sys.executable, "-m", "divcon", *words], stderr=full, stdout=subprocess.PIPE)
        assert ended.returncode == 0 and b"base done" in ended.stdout
        assert subprocess.run([sys.executable, "-m", "divcon", "look", "nowhere"], stderr=full).returncode == 66


@pytest.mark.parametrize("where", ["run", "cache"])
def test_a_disk_without_room_is_foreseen_and_nothing_is_begun(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def usage(path: Path) -> Usage:
        return Usage(1e12, 0, 1e5 if where == ("cache" if path.name == "cache" else "run") else 1e12)

    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(disk_space.shutil, "disk_usage", usage)
    with pytest.raises(
        DiskError, match=rf"no room for this in .*{where}: about [\d.]+ MB are needed, 0\.1 MB are free"
    ):
        divcon.run(photos, out=tmp_path / "run", epochs=EPOCHS, cache=tmp_path / "cache", **TINY)
    assert not (tmp_path / "run").exists() and not list(tmp_path.glob("cache/pixels/*"))


def test_what_a_run_has_written_counts_as_room_for_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: Usage(1e12, 0, 0))
    assert divcon.run(photos, out=run, epochs=EPOCHS, save_every=5, **TINY).did == []
    divcon.redo(run, "student")
    with pytest.raises(DiskError, match="make room"):
        divcon.run(photos, out=run, epochs=EPOCHS, **TINY)
    checkpoint = run / "student" / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    with (checkpoint / "model.safetensors").open("wb") as file:
        file.truncate(10**8)
    assert divcon.run(photos, out=run, epochs=EPOCHS, **TINY).did == ["student"]


def test_a_mapped_file_has_its_room_before_anything_is_written_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = target_cache.allocate(tmp_path / "kept.npy", (1000, 2, 64))
    status = (tmp_path / "kept.npy").stat()
    assert rows.shape == (1000, 2, 64) and 512 * status.st_blocks >= status.st_size >= 1000 * 2 * 64 * 2

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        target_cache.allocate(tmp_path / "other.npy", (1000, 2, 64))


def test_a_folder_that_may_not_be_written_is_named(photos: Path, tmp_path: Path) -> None:
    """The command runs as a user who is not root."""
    (tmp_path / "out").mkdir(0o555)
    words = command(photos, tmp_path / "out" / "run")
    ended = subprocess.run(
        [sys.executable, "-m", "divcon", *words], capture_output=True, text=True, preexec_fn=obey_permissions
    )
    (line,) = ended.stderr.splitlines()[-1:]
    assert ended.returncode == 74 and str(tmp_path / "out") in line and "Permission denied" in line, ended.stderr
    assert "name another place (out=, cache=)" in line and "Traceback" not in ended.stderr


def test_a_file_that_may_not_be_read_at_use_is_named(photos: Path, tmp_path: Path) -> None:
    """The scan could read the file; afterwards its permissions were removed."""
    folder, cache = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "cache"
    closed = sorted(folder.glob("*/*"))[7]
    divcon.look(folder, cache=cache)
    os.utime(closed, ns=(0, 0))
    divcon.look(folder, cache=cache)
    closed.chmod(0)
    options: dict[str, Any] = {**TINY, "epochs": 1, "cache": cache}
    words = [f"{key}={value}" for key, value in options.items()]
    ended = subprocess.run(
        [sys.executable, "-m", "divcon", "run", str(folder), f"out={tmp_path / 'run'}", *words],
        capture_output=True, text=True, preexec_fn=obey_permissions,
    )  # fmt: skip
    (line,) = ended.stderr.splitlines()[-1:]
    assert ended.returncode == 65 and closed.name in line and "Permission denied" in line, ended.stderr


@pytest.mark.parametrize("center", [False, True])
def test_the_room_that_is_asked_for_is_what_a_run_takes_at_its_most(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, center: bool
) -> None:
    """The space includes checkpoints while they are written, and teachers' targets; less than a third of it stays unused."""
    folder, most = tmp_path / "run", [0]

    def measure(name: str) -> None:
        sizes = (
            path.stat().st_size
            for place in (folder, tmp_path / "cache/pixels")
            for path in place.rglob("*.*")
            if path.is_file()
        )
        most[0] = max(most[0], sum(sizes))

    options: dict[str, Any] = {
        "cache": tmp_path / "cache",
        "epochs": 2,
        **TINY,
        "student.teacher_view": "center" if center else "same",
    }
    asked = cost_of(prepare_run(photos, folder, {name: str(value) for name, value in options.items()})).disk_mb * 1e6
    monkeypatch.setattr(failpoints, "at", measure)
    divcon.run(photos, out=folder, save_every=0, **options)
    assert most[0] <= asked * 1.02 and asked < 1.6 * most[0], (asked, most)
