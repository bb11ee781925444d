"""The store where the ranks meet that a launcher has started, maybe on several hosts."""

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from ..errors import LostError
from ..ranks import Place
from .interfaces import choose_interface
from .lost import AGAIN, lost_otherwise
from .timeout import TIMEOUT

LOOK = 0.02  # seconds between two looks at the store
GOODBYE = 10.0  # seconds that the rank which holds the store waits for the others at the end


@contextlib.contextmanager
def met(at: Place) -> Iterator[Store]:
    """Yield the store at the launcher's address. Each attempt has names of its own there: those of a dead one are never read."""
    served = lost_otherwise(lambda: TCPStore(at.address, at.port, at.world, is_master=at.serves, timeout=TIMEOUT))
    _limit_silence(at.port)
    store = PrefixStore(f"divcon/{lost_otherwise(lambda: _attempt(served, at))}", served)
    lost_otherwise(lambda: choose_interface(store, at))
    yield store
    _leave(store, at)


def _attempt(store: Store, at: Place) -> str:
    """A name that all ranks of this attempt share. Launchers on several hosts may count their attempts differently, so the first
    rank names it, and each rank finds its own mark beside the name: those of an earlier attempt have other marks."""
    store, mark = PrefixStore("divcon", store), uuid.uuid4().hex
    store.set(f"mark/{at.rank}", mark)
    return _named(store, at.world, mark) if at.rank == 0 else _told(store, at.rank, mark)


def _named(store: Store, world: int, name: str) -> str:
    """Name the attempt, until each rank has heard it: a rank that comes late replaces the mark of a dead one."""
    marks, told = [f"mark/{rank}" for rank in range(world)], list[str]()

    def all_heard() -> bool:
        nonlocal told
        if store.check(marks) and told != (now := [mark.decode() for mark in store.multi_get(marks)]):
            store.set("attempt", json.dumps([name, now]))
            told = now
        return store.check([f"heard/{name}/{rank}" for rank in range(1, world)])

    _wait(all_heard)
    return name


def _told(store: Store, rank: int, mark: str) -> str:
    """Wait for the name of the attempt to which the mark of this rank belongs."""
    name = ""

    def named() -> bool:
        nonlocal name
        if store.check(["attempt"]):
            its, marks = json.loads(store.get("attempt"))
            name = its if rank < len(marks) and marks[rank] == mark else ""
        return bool(name)

    _wait(named)
    store.set(f"heard/{name}/{rank}", "")
    return name


def _wait(come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while not come():
        if time.monotonic() > deadline:
            raise LostError(f"the ranks have not come together in {TIMEOUT.total_seconds():,.0f} s; {AGAIN}")
        time.sleep(LOOK)


def _leave(store: Store, at: Place) -> None:
    """Say goodbye. The rank that holds the store ends last: others may have something to read there."""
    with contextlib.suppress(RuntimeError):
        store.set(f"left/{at.rank}", "")
        deadline = time.monotonic() + GOODBYE
        while at.serves and time.monotonic() < deadline:
            if store.check([f"left/{rank}" for rank in range(at.world)]):
                return
            time.sleep(LOOK)


def _limit_silence(port: int) -> None:
    """Let the kernel close connections to the store whose other end is silent: where a cable is cut, the functions of a
    TCPStore would wait for an answer without end."""
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    seconds = TIMEOUT.total_seconds()
    for handle in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.fromfd(int(handle), socket.AF_INET, socket.SOCK_STREAM) as connection:
            if connection.getpeername()[1:2] == (port,):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
                    connection.setsockopt(socket.IPPROTO_TCP, option, max(1, int(seconds / 4)))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))
