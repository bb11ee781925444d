"""Ranks of one host talk through memory that they share, with the results of a plain loop; whoever is gone is missed at once."""

import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from unittest import mock

import pytest
import torch
from processes import SERVER
from torch import Tensor
from torch._C._distributed_c10d import FileStore, HashStore

from divcon import dist
from divcon.dist import meeting
from divcon.dist.meeting import share_memory
from divcon.dist.shared_memory import SLOT, SharedMemory
from divcon.errors import LostError
from divcon.ranks import Place

T = TypeVar("T")
SIZES = (0, 1, 7, SLOT // 4 - 1, SLOT // 4, SLOT // 4 + 1, SLOT)
TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64)


def on_ranks(size: int, do: Callable[[SharedMemory], T]) -> list[T]:
    """Do it on so many ranks that share memory; here each rank is a thread."""
    store = HashStore()

    def as_rank(rank: int) -> T:
        memory = share_memory(store, "test", rank, size)
        assert memory is not None
        try:
            return do(memory)
        finally:
            memory.close()

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(as_rank, range(size)))


def numbers(rank: int, n: int, kind: torch.dtype) -> Tensor:
    return (torch.randn(n, generator=torch.Generator().manual_seed(rank)) * 1000).to(kind)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("combine", [torch.add, torch.maximum])
def test_every_rank_gets_the_bits_of_a_loop_in_the_order_of_ranks(
    size: int, combine: Callable[[Tensor, Tensor], Tensor]
) -> None:
    def reduced(memory: SharedMemory) -> list[Tensor]:
        results = [numbers(memory.rank, n, kind) for n in SIZES for kind in TYPES]
        for x in results:
            memory.reduce(x, combine)
        return results

    wanted = list[Tensor]()
    for n, kind in [(n, kind) for n in SIZES for kind in TYPES]:
        total = numbers(0, n, kind)
        for rank in range(1, size):
            total = combine(total, numbers(rank, n, kind))
        wanted.append(total)
    for results in on_ranks(size, reduced):
        assert all(torch.equal(seen, right) for seen, right in zip(results, wanted, strict=True))


@pytest.mark.parametrize("size", [2, 3])
def test_gathered_rows_are_those_of_every_rank(size: int) -> None:
    shapes = [(3, 4), (1, SLOT // 4 + 5), (0, 2)]

    def gathered(memory: SharedMemory) -> list[list[Tensor]]:
        return [memory.gather(torch.full(shape, float(memory.rank))) for shape in shapes]

    for results in on_ranks(size, gathered):
        for parts, shape in zip(results, shapes, strict=True):
            assert all(torch.equal(part, torch.full(shape, float(rank))) for rank, part in enumerate(parts))
            assert len(parts) == size


def test_a_rank_that_runs_ahead_does_not_write_over_what_another_still_reads() -> None:
    def many(memory: SharedMemory) -> list[float]:
        sums = list[float]()
        for turn in range(300):
            if (turn + memory.rank) % 7 == 0:
                time.sleep(0.001)
            x = torch.full((1000,), float(turn * (memory.rank + 1)))
            memory.reduce(x, torch.add)
            sums.append(float(x.min()))
            assert x.min() == x.max()
        return sums

    assert on_ranks(3, many) == [[6.0 * turn for turn in range(300)]] * 3


def test_ranks_whose_socket_is_closed_are_missed_at_once() -> None:
    def gone(memory: SharedMemory) -> str:
        if memory.rank == 1:
            return "gone"
        with pytest.raises(LostError, match="another rank is gone"):
            memory.reduce(torch.zeros(3), torch.add)
        return "missed it"

    begun = time.monotonic()
    assert on_ranks(3, gone) == ["missed it", "gone", "missed it"]
    assert time.monotonic() - begun < 30  # not the ten minutes that a slow rank is waited for


def test_a_rank_that_says_nothing_is_waited_for_no_longer_than_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("divcon.dist.shared_memory.TIMEOUT", meeting.TIMEOUT * 0.5 / meeting.TIMEOUT.total_seconds())

    def slow(memory: SharedMemory) -> bool:
        if memory.rank == 1:
            time.sleep(1.5)
            return True
        with pytest.raises(LostError, match="timed out"):
            memory.reduce(torch.zeros(3), torch.add)
        return True

    assert on_ranks(2, slow) == [True, True]


def test_memory_that_one_rank_cannot_have_is_used_by_none() -> None:
    store, own = HashStore(), meeting._received

    def received(store: HashStore, name: str, rank: int, size: int) -> SharedMemory:
        if rank == 1:
            raise OSError("no")
        return own(store, name, rank, size)

    monkey = mock.patch.object(meeting, "_received", received)
    with monkey, mock.patch.object(meeting, "PATIENCE", 1.0), ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda rank: share_memory(store, "test", rank, 3), range(3))) == [None] * 3


def test_memory_that_the_first_rank_cannot_make_is_used_by_none() -> None:
    store = HashStore()
    with mock.patch.object(meeting, "_new_memory", side_effect=OSError("no space")), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda rank: share_memory(store, "test", rank, 2), range(2))) == [None] * 2


def test_a_folder_whose_name_is_too_long_for_a_socket_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert on_ranks(2, lambda memory: memory.rank) == [0, 1]


def test_one_rank_says_that_memory_cannot_be_shared_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    store = HashStore()
    with mock.patch.object(meeting, "_new_memory", side_effect=OSError("no space")), ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda rank: share_memory(store, "test", rank, 3), range(3)))
    assert [record.getMessage().count("(no space)") for record in caplog.records] == [1]


def test_nothing_is_left_in_the_folder_of_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert on_ranks(2, lambda memory: list(tmp_path.iterdir())) == [[], []]


def test_no_socket_or_file_stays_open() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0

    on_ranks(2, lambda memory: None)
    before = open_files()
    for _ in range(3):
        on_ranks(3, lambda memory: memory.reduce(torch.zeros(3), torch.add))
    assert open_files() == before


def _sum_until_killed(folder: str, rank: int, begun: str) -> None:
    with dist.joined(FileStore(str(Path(folder) / "store"), 3), Place(rank, 3, rank, "", 0)):
        group = dist.current()
        assert group.memory is not None
        Path(begun).touch()
        try:
            while True:
                dist.mean_of([1.0])
        except LostError:
            os._exit(7)


def test_a_killed_rank_ends_the_others_at_once(tmp_path: Path) -> None:
    begun = [tmp_path / f"begun{rank}" for rank in range(3)]
    ranks = [SERVER.Process(target=_sum_until_killed, args=(str(tmp_path), r, str(begun[r]))) for r in range(3)]
    for process in ranks:
        process.start()
    try:
        deadline = time.monotonic() + 60
        while not all(path.exists() for path in begun) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(ranks[1].pid or 0, signal.SIGKILL)
        for process in ranks:
            process.join(30)
        assert [process.exitcode for process in ranks] == [7, -signal.SIGKILL, 7]
    finally:
        for process in ranks:
            process.kill()
            process.join()


def test_another_user_cannot_connect(tmp_path: Path) -> None:
    store = HashStore()
    with meeting._listening(store, "test", 2) as listener:
        path = Path(store.get("test/meet").decode())
        assert path.parent.stat().st_mode & 0o077 == 0
        assert listener.family == socket.AF_UNIX
