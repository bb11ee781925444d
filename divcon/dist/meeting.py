"""Hand the ranks of a group the memory that they share, where all of them are on one host."""

import contextlib
import itertools
import mmap
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from torch._C._distributed_c10d import Store

from ..log import warning
from .lost import lost_otherwise
from .shared_memory import SharedMemory, bytes_for
from .timeout import TIMEOUT

PATIENCE = min(60.0, TIMEOUT.total_seconds())  # seconds in which a rank of this host comes, also on a busy machine
LONGEST = 60  # bytes of a folder's name: that of a socket in it has at most 104


def share_memory(store: Store, name: str, rank: int, size: int) -> SharedMemory | None:
    """Return memory that the ranks of a group share; None on every rank, if one of them can't have it.

    All ranks of the group call this together. No file is left behind, whatever ends them.
    """
    made: SharedMemory | None = None
    problem = ""
    try:
        made = _handed_out(store, name, size) if rank == 0 else _received(store, name, rank, size)
    except (OSError, ValueError) as error:
        problem = str(error) or type(error).__name__
    problems = lost_otherwise(lambda: _problems_of_all(store, name, rank, size, problem))
    if made and problems:
        made.close()
        made = None
    if problems and rank == 0:
        warning(f"the ranks of this host can't share memory ({problems[0]}): each message goes through gloo, which is slower")
    return made


def _problems_of_all(store: Store, name: str, rank: int, size: int, problem: str) -> list[str]:
    """Tell the others the problem of this rank, and return those of all; an empty text is none."""
    store.set(f"{name}/shares/{rank}", problem)
    told = [store.get(f"{name}/shares/{other}").decode() for other in range(size)]
    return [text for text in told if text]


def _handed_out(store: Store, name: str, size: int) -> SharedMemory:
    """Make the memory and a pair of sockets for each two ranks, and send each rank its own."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(_listening(store, name, size))
        memory = held.enter_context(open(_new_memory(bytes_for(size)), "r+b", buffering=0))
        pairs = {pair: socket.socketpair() for pair in itertools.combinations(range(size), 2)}
        own = held.enter_context(contextlib.ExitStack())  # closed, unless all have come
        ends = [[_end(pairs, rank, other) for other in range(size) if other != rank] for rank in range(size)]
        for end in itertools.chain(*ends[1:]):
            held.enter_context(end)
        for end in ends[0]:
            own.enter_context(end)
        for _ in range(size - 1):
            connection = held.enter_context(listener.accept()[0])
            theirs = ends[int(connection.recv(8))]
            socket.send_fds(connection, [b"\0"], [memory.fileno(), *(end.fileno() for end in theirs)])
        shared = SharedMemory(0, mmap.mmap(memory.fileno(), bytes_for(size)), [None, *ends[0]])
        own.pop_all()
        return shared


def _end(pairs: dict[tuple[int, int], tuple[socket.socket, socket.socket]], rank: int, other: int) -> socket.socket:
    """The end of a rank of the pair that connects it with another one."""
    low, high = sorted((rank, other))
    return pairs[low, high][rank > other]


def _received(store: Store, name: str, rank: int, size: int) -> SharedMemory:
    """Get the memory and the sockets of this rank from the first one."""
    path = lost_otherwise(lambda: store.get(f"{name}/meet")).decode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.send(str(rank).encode())
        _, files, _, _ = socket.recv_fds(connection, 1, size)
    if len(files) != size:
        raise ConnectionError("the first rank has sent no memory")
    sockets = [socket.socket(fileno=file) for file in files[1:]]
    with open(files[0], "r+b", buffering=0) as memory:
        mapped = mmap.mmap(memory.fileno(), bytes_for(size))
    return SharedMemory(rank, mapped, [*sockets[:rank], None, *sockets[rank:]])


@contextlib.contextmanager
def _listening(store: Store, name: str, size: int) -> Iterator[socket.socket]:
    """Listen at a path that the store tells the others, and that only this user can open."""
    path = ""
    try:
        with tempfile.TemporaryDirectory(prefix="divcon-", dir=_short_folder()) as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(Path(folder) / "meet"))
            listener.listen(size)
            listener.settimeout(PATIENCE)
            path = str(Path(folder) / "meet")
            store.set(f"{name}/meet", path)
            yield listener
    finally:
        if not path:
            store.set(f"{name}/meet", "")  # the others do not wait


def _short_folder() -> str:
    """The folder of temporary files, or /tmp if its name is too long for a socket."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= LONGEST else "/tmp"


def _new_memory(size: int) -> int:
    """Return a file in memory, without a name; elsewhere than on Linux a file that has no name any more."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("divcon")
    else:
        file, path = tempfile.mkstemp(prefix="divcon-")
        os.unlink(path)
    os.truncate(file, size)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)  # an error here, not a signal at the first write
    return file
