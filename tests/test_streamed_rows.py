"""Rows of features in a file that grows part by part: whoever goes on after a kill computes no finished part again, and ends in
the bytes of one that nothing disturbed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from divcon import failpoints
from divcon.errors import DiskError, OwnedError
from divcon.train import streamed_rows
from divcon.train.streamed_rows import forget_parts, stream_rows

N, D, BLOCK, PART = 1000, 3, 16, 64
POSITIONS = np.arange(N)[::-1] * 7
KILLED = -9


def rows_at(positions: np.ndarray) -> np.ndarray:
    return np.sin(positions[:, None] + np.arange(D)).astype(np.float16)  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_rows, "BLOCK", BLOCK)
    monkeypatch.setattr(streamed_rows, "PART", PART)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "rows.npy"


def counted(found: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    """Return `rows_at`, which notes the positions that it is asked for."""

    def rows(positions: np.ndarray) -> np.ndarray:
        found.extend(positions.tolist())
        return rows_at(positions)

    return rows


def write(file: Path, key: str = "key") -> list[int]:
    """Write the file to its end, check what is in it, and return the positions whose rows were computed."""
    found = list[int]()
    rows = stream_rows(file, POSITIONS, counted(found), key)
    assert np.array_equal(rows, rows_at(POSITIONS)) and isinstance(rows, np.memmap)
    return found


CHILD = """
import sys
from pathlib import Path
import test_streamed_rows as test
test.streamed_rows.BLOCK, test.streamed_rows.PART = test.BLOCK, test.PART
test.stream_rows(Path(sys.argv[1]), test.POSITIONS, test.rows_at, "key")
"""


def killed(file: Path, point: str) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    env = {**os.environ, "PYTHONPATH": paths, failpoints.VARIABLE: point}
    assert subprocess.run([sys.executable, "-c", CHILD, str(file)], env=env).returncode == KILLED


def test_the_file_is_that_of_numpy(file: Path, tmp_path: Path) -> None:
    assert write(file) == POSITIONS.tolist()
    np.save(tmp_path / "expected.npy", rows_at(POSITIONS))
    assert file.read_bytes() == (tmp_path / "expected.npy").read_bytes()
    forget_parts(file)
    assert [path.name for path in file.parent.iterdir()] == ["rows.npy"]


PLACES = [("rows.written", 0), ("rows.listed:5", 5), ("file.renamed:3", 3)]
MORE = [("rows.listed", 1), ("rows.written:5", 4), ("rows.listed:16", 16), ("file.begun:3", 2), ("file.synced:3", 2)]


@pytest.mark.parametrize(
    ("point", "parts"), [*PLACES, *(pytest.param(*place, marks=pytest.mark.slow) for place in MORE)]
)
def test_after_a_kill_only_the_unfinished_parts_are_computed(file: Path, point: str, parts: int) -> None:
    killed(file, point)
    assert not file.exists()
    assert write(file) == POSITIONS[parts * PART :].tolist()


def test_a_complete_file_is_taken_as_it_is_until_its_list_is_forgotten(file: Path) -> None:
    write(file)
    assert write(file) == []
    forget_parts(file)
    assert write(file) == POSITIONS.tolist()


def stopped(file: Path, after: int) -> None:
    """Begin to write the file, and stop when so many rows are asked for."""

    def rows(positions: np.ndarray) -> np.ndarray:
        if positions[0] <= POSITIONS[after]:
            raise KeyboardInterrupt
        return rows_at(positions)

    with pytest.raises(KeyboardInterrupt):
        stream_rows(file, POSITIONS, rows, "key")


def test_what_was_begun_for_other_rows_is_not_gone_on_with(file: Path) -> None:
    stopped(file, 300)
    assert write(file, "another key") == POSITIONS.tolist()


@pytest.mark.parametrize("part", [0, 2])
def test_from_a_damaged_part_on_rows_are_computed_again(
    file: Path, part: int, caplog: pytest.LogCaptureFixture
) -> None:
    stopped(file, 5 * PART)
    begun = file.with_name("rows.npy.begun")
    rows = np.load(begun, mmap_mode="r+")
    rows[part * PART + 3, 1] += 1
    rows.flush()
    assert write(file) == POSITIONS[part * PART :].tolist()
    assert f"damaged from row {part * PART} on" in caplog.text


@pytest.mark.parametrize("name", ["rows.npy.begun", "rows.npy.parts.json"])
@pytest.mark.parametrize("content", [b"", b"x" * 99, None])
def test_damaged_files_are_begun_again(file: Path, name: str, content: bytes | None) -> None:
    stopped(file, 5 * PART)
    path = file.with_name(name)
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    assert write(file) == POSITIONS.tolist()


def test_a_damaged_complete_file_is_computed_again_and_its_readers_keep_the_old_one(file: Path) -> None:
    write(file)
    old = np.load(file, mmap_mode="r")
    with file.open("r+b") as opened:
        opened.seek(200)
        opened.write(b"\1\2\3\4")
    damaged = np.array(old)
    assert write(file) == POSITIONS.tolist()
    assert np.array_equal(old, damaged)


def test_the_list_tells_what_the_rows_are(file: Path) -> None:
    write(file)
    listed = json.loads(file.with_name("rows.npy.parts.json").read_text())
    assert (listed["key"], listed["rows"], listed["part"], len(listed["hashes"])) == ("key", N, PART, 16)


def test_nothing_is_listed_in_a_folder_that_was_taken_over(file: Path) -> None:
    asked = list[int]()

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise OwnedError("taken over")

    with pytest.raises(OwnedError):
        stream_rows(file, POSITIONS, rows_at, "key", check)
    assert len(json.loads(file.with_name("rows.npy.parts.json").read_text())["hashes"]) == 2


def test_a_disk_without_room_is_said_before_rows_are_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskError, match="No space left"):
        stream_rows(file, POSITIONS, rows_at, "key")
    monkeypatch.undo()
    streamed_rows.BLOCK, streamed_rows.PART = BLOCK, PART
    write(file)
