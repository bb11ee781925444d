"""Shards of a table of features: joined by whoever finishes last, with the bytes of the table that one process writes."""

import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import processes
import pytest

import divcon
from divcon import failpoints
from divcon.api import shard_rows, shards
from divcon.api.shard_rows import JoinedRows, positions_in
from divcon.api.shards import FinishedShard, Shard
from divcon.errors import DataError, UsageError
from divcon.machine import measurement
from divcon.train import encode, streamed_rows

MODEL = "random:slim10_w8"
CHUNK = 8


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Many batches, so that each of some shards has several; and one arithmetic on any machine."""
    monkeypatch.setattr(encode, "CHUNK", CHUNK)
    monkeypatch.setattr(shard_rows, "CHUNK", CHUNK)
    monkeypatch.setattr(streamed_rows, "BLOCK", 2 * CHUNK)
    monkeypatch.setattr(streamed_rows, "PART", 2 * CHUNK)
    monkeypatch.setattr(measurement, "measure", lambda *_: {"precision": "fp32", "channels_last": True})
    yield


@pytest.fixture
def expected(photos: Path, tmp_path: Path) -> bytes:
    out = tmp_path / "whole.parquet"
    divcon.embed(MODEL, photos, out=out)
    return out.read_bytes()


def finish(photos: Path, out: Path, shard: str) -> list[str]:
    return divcon.embed(MODEL, photos, out=out, shard=shard).waiting_for or []


@pytest.mark.parametrize("order", [[1], [2, 1], [3, 1, 4, 2], [*range(25, 0, -1)]], ids=len)
def test_shards_in_any_order_are_joined_by_the_last(
    order: list[int], photos: Path, tmp_path: Path, expected: bytes
) -> None:
    """With 25 shards of 20 batches, some are empty."""
    out, left = tmp_path / "e.parquet", sorted(order)
    for number in order:
        assert not out.exists()
        left.remove(number)
        assert finish(photos, out, f"{number}/{len(order)}") == [f"{other}/{len(order)}" for other in left]
    assert out.read_bytes() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.parquet", "whole.parquet"]


def test_a_finished_shard_is_not_computed_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "e.parquet"
    finish(photos, out, "1/2")
    monkeypatch.setattr("divcon.api.models.encode", None)
    assert finish(photos, out, "1/2") == ["2/2"]


RARE = ["rows.written", "file.synced:2", "file.renamed:3", "lock.freed"]


@pytest.mark.parametrize("point", ["rows.listed", *(pytest.param(point, marks=pytest.mark.slow) for point in RARE)])
def test_after_a_kill_a_shard_goes_on(photos: Path, tmp_path: Path, point: str) -> None:
    words = ["embed", MODEL, str(photos), f"out={tmp_path / 'e.parquet'}", f"cache={tmp_path / 'cache'}"]
    assert processes.done([*words[:3], f"out={tmp_path / 'whole.parquet'}", words[4]])[0] == 0
    assert processes.done([*words, "--shard", "1/2"])[0] == 0  # it has no batch: the other one has the only one
    code, said = processes.done([*words, "--shard", "2/2"], {failpoints.VARIABLE: point})
    assert code == -signal.SIGKILL, said
    for number in (1, 2):
        if not (tmp_path / "e.parquet").exists():
            assert processes.done([*words, "--shard", f"{number}/2"])[0] == 0
    assert (tmp_path / "e.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_when_two_finish_at_once_one_joins(photos: Path, tmp_path: Path, expected: bytes) -> None:
    out, last = tmp_path / "e.parquet", Shard(2, 2)
    finish(photos, out, "1/2")
    finished, entered, written = threading.Event(), threading.Event(), list[int]()
    folder, key = tmp_path / "e.parquet.shards", shards_key(tmp_path)
    shards.finish_shard(folder, last, key, lambda at: [])

    def write(finished_shards: Sequence[FinishedShard]) -> None:
        written.append(1)
        entered.set()
        finished.wait(20)

    first = threading.Thread(target=shards.join_if_last, args=(folder, last, key, write), kwargs={"unlike": ""})
    first.start()
    assert entered.wait(20)
    assert shards.join_if_last(folder, last, key, write, unlike="") == []  # the folder is owned: another joins
    finished.set()
    first.join()
    assert shards.join_if_last(folder, last, key, write, unlike="") == ["1/2", "2/2"] and written == [1]


def shards_key(folder: Path) -> str:
    return shards.load_record(shards.ShardRecord, folder / "e.parquet.shards" / "1-of-2" / "MANIFEST.json").key


def test_a_shard_of_another_model_is_named(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"
    divcon.embed("random:slim10_w32", photos, out=out, shard="1/2")
    with pytest.raises(DataError, match=r"shard 1/2 in .*1-of-2 does not belong to the others .*--shard 1/2 again"):
        finish(photos, out, "2/2")
    assert finish(photos, out, "1/2") == [] and out.exists()


def test_a_damaged_shard_is_named_and_computed_again(photos: Path, tmp_path: Path, expected: bytes) -> None:
    out = tmp_path / "e.parquet"
    finish(photos, out, "1/2")
    rows = np.load(tmp_path / "e.parquet.shards" / "1-of-2" / "rows.npy", mmap_mode="r+")
    rows[3, 3] += 1
    rows.flush()
    with pytest.raises(DataError, match=r"shard 1/2 .*expected sha256"):
        finish(photos, out, "2/2")
    assert finish(photos, out, "1/2") == [] and out.read_bytes() == expected


@pytest.mark.parametrize("text", ["", "0/4", "5/4", "1/0", "1", "a/b", "-1/4", "1/4/4", " 1/4", "1.0/4"])
def test_a_text_that_is_no_shard_is_refused_before_any_work(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 1/8 to 8/8"):
        divcon.embed(MODEL, tmp_path / "nowhere", out=tmp_path / "e.parquet", shard=text)


@pytest.mark.parametrize("n", [1, 7, 8, 100, 161])
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_each_image_is_in_one_shard_and_batches_are_those_of_one_process(n: int, count: int) -> None:
    parts = [positions_in(Shard(number, count), n) for number in range(1, count + 1)]
    assert np.concatenate(parts).tolist() == list(range(n))
    assert all(len(part) == 0 or part[0] % CHUNK == 0 for part in parts)


def test_rows_of_all_shards_are_found_in_any_order() -> None:
    parts = [np.arange(6.0).reshape(3, 2), 10 + np.arange(2.0).reshape(1, 2), 20 + np.arange(8.0).reshape(4, 2)]
    x = JoinedRows([part.astype(np.float32) for part in parts])
    at = np.random.default_rng(0).integers(0, 8, 40)
    assert x.shape == (8, 2) and np.array_equal(x[at], np.concatenate(parts)[at])
