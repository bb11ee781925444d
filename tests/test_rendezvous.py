"""Ranks meet in a store that may hold what earlier attempts left there, and find their way to each other."""

import os
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import torch.distributed as td
from torch._C._distributed_c10d import Store

from divcon.cli import _is_told_by_another
from divcon.dist import interfaces, rendezvous
from divcon.errors import DataError, LostError
from divcon.ranks import Place

WORLD = 3


def at(rank: int, *, serves: bool = False) -> Place:
    return Place(rank, WORLD, rank, "alpha", 29400, serves)


def together(do: Callable[[int], str], delays: list[float]) -> list[str]:
    """What the function answers on each rank, each in a thread that begins after its delay."""
    answers = [""] * WORLD

    def work(rank: int) -> None:
        time.sleep(delays[rank])
        answers[rank] = do(rank)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(WORLD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def test_each_attempt_has_a_name_of_its_own_in_whatever_order_its_ranks_come() -> None:
    store, names = td.HashStore(), set[str]()
    for attempt in range(8):
        delays = [0.0, 0.05, 0.1]
        random.Random(attempt).shuffle(delays)
        (name,) = set(together(lambda rank: rendezvous._attempt(store, at(rank)), delays))
        names.add(name)
    assert len(names) == 8 and "" not in names


def test_a_rank_that_finds_nobody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "TIMEOUT", timedelta(seconds=0.2))
    for rank in (0, 1):
        with pytest.raises(LostError, match="have not come together in 0 s"):
            rendezvous._attempt(td.HashStore(), at(rank))


def test_the_rank_that_holds_the_store_leaves_last() -> None:
    store, left = td.HashStore(), list[int]()

    def leave(rank: int) -> str:
        rendezvous._leave(store, at(rank, serves=rank == 0))
        left.append(rank)
        return ""

    together(leave, [0.0, 0.1, 0.3])
    assert left[-1] == 0 and sorted(left) == [0, 1, 2]


def test_gloo_talks_where_all_ranks_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"alpha": "127.0.1.1", "10.0.0.2": "10.0.0.1", "10.0.0.3": "10.0.0.1"}
    monkeypatch.setattr(interfaces, "_address_towards", lambda host, port: ways[host])
    several = ["127.0.1.1", "10.0.0.2", "10.0.0.3"]
    assert interfaces._reachable(several, at(0)) == "10.0.0.1", "the host where all meet is no loopback for the others"
    assert interfaces._reachable(several, at(1)) == "10.0.0.2"
    for one in ("127.0.1.1", "10.0.0.1"):
        assert interfaces._reachable([one] * WORLD, at(2)) == "127.0.0.1", "ranks of one host open no port to others"
    assert interfaces._interface("127.0.1.1").startswith("lo") and interfaces._interface("192.0.2.77") == ""


def test_what_the_user_set_for_gloo_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(store: Store) -> str:
        interfaces.choose_interface(store, Place(0, 1, 0, "localhost", 29400))
        return os.environ[interfaces.VARIABLE]

    monkeypatch.setenv(interfaces.VARIABLE, "eth7")
    assert choose(td.HashStore()) == "eth7"
    monkeypatch.delenv(interfaces.VARIABLE)
    assert choose(td.HashStore()).startswith("lo")


@pytest.mark.parametrize(
    ("local", "on_this_host", "silent"), [("0", "2", False), ("1", "2", True), ("0", "4", True), ("3", "4", True)]
)
def test_one_rank_of_each_host_says_that_those_of_another_are_gone(
    local: str, on_this_host: str, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = {"TORCHELASTIC_RUN_ID": "x", "RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "alpha", "MASTER_PORT": "1"}
    for name, value in {**launched, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": on_this_host}.items():
        monkeypatch.setenv(name, value)
    assert _is_told_by_another(LostError("another rank is gone")) == silent
    assert not _is_told_by_another(DataError("an image has changed")), "a rank tells its own error"
