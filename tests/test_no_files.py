"""A FIFO, a socket, a device or a folder in the place of any file of a run: every verb answers at once, in words."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_damage import FILES, OPTIONS, UNFINISHED, interrupted, undisturbed
from test_pipeline import command, finished, stable, typed

import divcon
from divcon.clustering.clusters import Clusters
from divcon.data.images import open_images
from divcon.errors import DamagedError, DiskError
from divcon.files.integrity import read_json, write_json

SECONDS = 20  # that a verb may take on a machine at work; a FIFO has no end
LAST = ["student/encoder.safetensors", "student/encoder.json"]  # what a model is read from


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    (path / "precious").mkdir(parents=True)


KINDS: dict[str, Callable[[Path], None]] = {
    "FIFO": fifo, "socket": bound, "device": device, "folder": folder,
}  # fmt: skip


class LateError(AssertionError):
    """A verb that waits."""


@contextmanager
def soon() -> Iterator[None]:
    def late(*_: object) -> None:
        raise LateError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def replaced(file: Path, kind: str) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    KINDS[kind](file)


def answered(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code, and the last line on stderr."""
    with soon():
        code = typed(words)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return code, [*said.splitlines(), ""][-1] if code == 0 else said.splitlines()[-1]


def answers(run: Path, photos: Path) -> dict[str, list[str]]:
    """The commands, by verb; redo comes last, because it removes stages."""
    out = f"out={run.parent / 'some.parquet'}"
    return {
        "status": ["status", str(run)], "verify": ["status", str(run), "verify=true"], "eval": ["eval", str(run), str(photos), "tasks=knn"],
        "embed": ["embed", str(run), str(photos), out], "run": command(photos, run), "redo": ["redo", str(run), "base"],
    }  # fmt: skip


def expected(verb: str, name: str) -> set[int]:
    """Exit codes: 65 where the file is read, or its hash."""
    if name == "run.json" or verb == "verify":
        return {65, 66}
    if verb in ("eval", "embed"):
        return {65, 66} if name in LAST else {0}
    if verb == "run":
        return {0} if name.startswith("images/") else {65}
    return {0}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_no_verb_waits_for_what_is_no_file_in_a_finished_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    replaced(run / name, kind)
    for verb, words in answers(run, photos).items():
        if verb in ("eval", "embed") and name not in ("run.json", *LAST):
            continue
        code, line = answered(words, capsys)
        assert code in expected(verb, name), (verb, code, line)
        assert code == 0 or line.startswith("divcon: "), line


def newest(run: Path, name: str) -> Path:
    places = [run / "student" / name, *sorted(run.glob(f"student/checkpoints/*/{name}"), reverse=True)]
    return next(path for path in places if path.exists())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*UNFINISHED, "lock", "checkpoints"])
def test_no_verb_waits_for_what_is_no_file_in_an_unfinished_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    run = shutil.copytree(interrupted(photos), tmp_path / "run")
    if name == "lock":
        (run / "student/lock").touch()
    replaced(newest(run, name), kind)
    for words in (["status", str(run)], ["status", str(run), "verify=true"], ["eval", str(run), str(photos)]):
        code, line = answered(words, capsys)
        assert code in (0, 65, 66), (words[0], code, line)
    code, line = answered(["redo", str(run), "student"], capsys)
    assert (code, "in use" in line) == ((73, True) if name == "lock" else (0, False)), line


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*UNFINISHED, "lock", "checkpoints"])
def test_a_run_goes_on_past_what_is_no_file_or_says_what_is_in_its_way(
    photos: Path, tmp_path: Path, name: str, kind: str
) -> None:
    run = shutil.copytree(interrupted(photos), tmp_path / "run")
    if name == "lock":
        (run / "student/lock").touch()
    replaced(newest(run, name), kind)
    words = ["run", str(photos), f"out={run}", *(f"{key}={value}" for key, value in OPTIONS.items())]
    with soon():
        code = typed(words)
    written = ("state.json", "metrics.jsonl", "teacher_targets.npy", "teacher_targets.json")
    in_the_way = name in written if kind == "folder" else name == "checkpoints"
    assert code == (73 if name == "lock" else 74 if in_the_way else 0)
    assert code or stable(run) == undisturbed(photos)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["centroids.npy", "sample.npy", "sample_positions.npy", "clusters.parquet"])
def test_clusters_that_are_no_files_are_refused_though_no_hash_is_given(
    photos: Path, tmp_path: Path, name: str, kind: str
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    write_json(run / "clusters/stage.json", {**read_json(run / "clusters/stage.json"), "sha256": {}})
    replaced(run / "clusters" / name, kind)
    with soon(), pytest.raises(DamagedError):
        Clusters.load(run / "clusters")


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])
def test_a_cache_that_holds_no_files_is_made_again(photos: Path, tmp_path: Path, kind: str) -> None:
    options = {**{key: value for key, value in OPTIONS.items() if "." not in key}, "recipe": "simclr", "epochs": 1}
    cache = tmp_path / "cache"
    first = divcon.run(photos, out=tmp_path / "first", cache=cache, **options).folder
    for pattern in ("index/*.arrow", "pixels/*/pixels.json"):
        replaced(next(cache.glob(pattern)), kind)
    with soon():
        again = divcon.run(photos, out=tmp_path / "again", cache=cache, **options).folder
    assert stable(again) == stable(first)


def test_a_folder_in_a_files_place_is_not_removed_with_what_is_in_it(photos: Path, tmp_path: Path) -> None:
    open_images(photos, cache=tmp_path)
    (file,) = tmp_path.glob("index/*.arrow")
    replaced(file, "folder")
    with soon(), pytest.raises(DiskError, match=f"can't write {file}: Is a directory"):
        open_images(photos, cache=tmp_path)
    assert (file / "precious").is_dir()
