"""Odd options, readers that have gone, and mistakes in divcon: each ends with an exit code and a message, without a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY
from test_cli import told

from divcon.api import look
from divcon.data.index.near_duplicates import THUMBNAIL_BYTES, find_near_duplicates

BAD_NUMBERS = [
    "epochs=1e308", "epochs=-1", "epochs=nan", "epochs=inf", f"epochs={'[' * 50_000}", f"seed={'9' * 5_000}", "seed=1e400",
    "limit=10000000000000000000000000", "limit=0", "size=1000000000000000000000", "size=4", "batch_size=1", "hidden=70000",
    "dim=0", "std=[0,0,0]", "std=[-1,1,1]", "device=meta", "device=cuda:x", "workers=0", "workers=-1", "cache_gb=nan",
    "cache_gb=-1", "save_every=-1", 'include="\\ud800"', 'exclude="a\\u0000b"', "near_duplicates=perhaps", "precision=fp8",
]  # fmt: skip


@pytest.mark.parametrize("word", BAD_NUMBERS, ids=lambda word: word[:30])
def test_a_value_that_means_nothing_is_refused_in_a_short_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    rest = [f"{key}={value}" for key, value in TINY.items() if key != word.partition("=")[0]]
    code, line = told(["run", str(photos), f"out={tmp_path / 'run'}", *rest, word], capsys)
    assert code == 64 and line.startswith(f"divcon: {word.partition('=')[0]}") and len(line) < 300, (code, line[:500])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["look", "eval", "embed"])
@pytest.mark.parametrize("word", ["workers=-1", "workers=100000000", "workers=two"])
def test_no_verb_waits_for_threads_that_there_can_not_be(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, word: str
) -> None:
    words = {
        "look": [str(photos)],
        "eval": ["random:slim10", str(photos)],
        "embed": ["random:slim10", str(photos), f"out={tmp_path}/e.parquet"],
    }
    code, line = told([verb, *words[verb], word], capsys)
    assert code == 64 and line.startswith(f"divcon: {word}: input should be")


@pytest.mark.parametrize("name", ["stage.saved:0", "stage.saved:abc", "stage.saved:\u00b2", "stage.saved:-1"])
def test_a_passing_that_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv("DIVCON_FAULT", name)
    code, line = told(["recipes"], capsys)
    assert code == 64 and "1 or more" in line


def test_a_cache_in_nobodys_home_is_named(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIVCON_CACHE", "~no-such-user/cache")
    code, line = told(["look", str(photos)], capsys)
    assert code == 66 and "~no-such-user/cache" in line and "cache=" in line


@pytest.mark.parametrize("layout", ["one image a class", "no class in train"])
def test_labels_that_can_not_be_split_are_refused(
    photos: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    some = sorted(photos.glob("*/*"))[:60:20]
    places = ["a/1", "b/2"] if layout == "one image a class" else ["train/a/1", "test/a/2", "test/b/3"]
    for path, place in zip(some, places):
        target = tmp_path / f"{place}{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    code, line = told(["eval", "random:slim10_w8", str(tmp_path)], capsys)
    assert code == 65 and "at least two classes with two images each are needed" in line


@pytest.mark.parametrize("out", ["link", "folder.parquet"])
def test_where_nothing_can_be_written_is_named_with_its_code(
    photos: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (tmp_path / "link").symlink_to("/nowhere/at/all")
    (tmp_path / "folder.parquet").mkdir()
    verb = ["embed", "random:slim10_w8"] if out.endswith("parquet") else ["run"]
    code, line = told([*verb, str(photos), f"out={tmp_path / out}"], capsys)
    assert code == 74 and str(tmp_path / out) in line


def shell(line: str, cache: Path) -> "subprocess.CompletedProcess[str]":
    env = {
        **os.environ,
        "DIVCON": f"{sys.executable} -m divcon",
        "DIVCON_CACHE": str(cache),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, env=env, check=False, timeout=120
    )


def test_who_stops_reading_is_no_ctrl_c_and_a_full_output_is_a_full_disk(cache: Path) -> None:
    assert shell("$DIVCON recipes | head -0", cache).returncode == 141
    done = shell("$DIVCON recipes > /dev/full", cache)
    assert done.returncode == 74 and "the output: No space left on device" in done.stderr


def test_a_library_that_finds_no_memory_names_the_settings_to_lower(photos: Path, tmp_path: Path, cache: Path) -> None:
    done = shell(f"ulimit -v 1500000; $DIVCON run {photos} out={tmp_path / 'run'}", cache)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 71 and "Lower batch_size= or size=" in last and "Traceback" not in done.stderr


def test_a_mistake_of_ours_is_said_to_be_one_without_a_traceback(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(look, "scan_images", lambda *_, **__: {}["\x1b[31mkey"])
    code, line = told(["look", str(photos)], capsys)
    assert code == 70 and "a mistake in divcon" in line and "KeyError" in line and "--debug" in line
    assert "\x1b" not in line


def test_of_thousands_that_look_just_the_same_one_is_different() -> None:
    rng = np.random.default_rng(0)
    others = rng.integers(0, 256, (50, THUMBNAIL_BYTES), np.uint8)
    sums = np.concatenate(
        [others[:25], np.repeat(rng.integers(0, 256, (1, THUMBNAIL_BYTES), np.uint8), 2000, 0), others[25:]]
    )
    of = find_near_duplicates(sums, np.ones(len(sums)))
    assert (of[26:2025] == 25).all() and (np.delete(of, np.arange(26, 2025)) == -1).all()
