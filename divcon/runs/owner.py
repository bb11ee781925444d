"""One owner a folder: a file that says which process holds it. No clocks, no heartbeats."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import failpoints
from ..errors import OwnedError
from ..files.atomic import fsync, make_folder, remove_path
from ..files.disk_errors import disk_errors
from ..files.integrity import seal, unseal
from ..files.regular import read_regular_file
from ..files.text import printable

NAME = "lock"
TRIES = 4
PATIENCE = 60.0  # seconds: the index of very many images takes so long to write
UNLINKED = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}  # of file systems without hard links


@contextlib.contextmanager
def owned(folder: Path, *, steal: bool = False) -> Iterator[None]:
    """Hold the folder; OwnedError names the holder if it may be alive. One that is gone from this host is replaced."""
    path = folder / NAME
    with disk_errors(path):
        make_folder(folder)
        _take(path, steal)
        failpoints.at("lock.taken")
    try:
        yield
    finally:
        if _holder(path) == this_process():
            path.unlink(missing_ok=True)
            failpoints.at("lock.freed")


@contextlib.contextmanager
def owned_briefly(folder: Path, *, steal: bool = False) -> Iterator[None]:
    """Hold a folder for a moment, once those have done so who came before; OwnedError if that takes too long."""
    deadline = time.monotonic() + PATIENCE
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(owned(folder, steal=steal))
                break
            except OwnedError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
        clear(folder)
        yield


def clear(folder: Path) -> None:
    """Remove what killed processes, and such as are waiting and write it again, have put beside a lock. Only the folder's
    owner may call it."""
    for left in folder.glob(f"{NAME}.*"):
        remove_path(left)


def check(folder: Path) -> None:
    """OwnedError if the folder was taken from this process, which must then write nothing more there."""
    holder = _holder(folder / NAME)
    if holder != this_process():
        by = f"process {holder.get('pid')} on {holder.get('host')}" if holder else "someone who removed its lock"
        raise OwnedError(
            f"{printable(folder)} was taken over by {by}; nothing more is written there. Wait for it, or, once it is gone, "
            "type the same command again"
        )


def _take(path: Path, steal: bool) -> None:
    """Create the lock with its content in one act: a hard link fails where the name exists."""
    mine = path.with_name(f"{NAME}.{socket.gethostname()}.{os.getpid()}")
    try:
        while True:
            with contextlib.suppress(FileNotFoundError):  # the folder's owner clears such files away
                mine.write_text(seal(json.dumps(this_process())))
                fsync(mine)  # an empty lock after a power cut could not be judged
                failpoints.at("lock.written")
                if _linked(mine, path):
                    return
            _remove_stale(path, steal)
    finally:
        mine.unlink(missing_ok=True)


def _linked(mine: Path, path: Path) -> bool:
    """Whether this process got the name. Over a network the answer to a link that was made may be lost, but the file
    then counts two names."""
    try:
        os.link(mine, path)
    except FileExistsError:
        return mine.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in UNLINKED:
            raise
        return _created(path, mine.read_bytes())
    return True


def _created(path: Path, content: bytes) -> bool:
    """Where there are no hard links: the name first, the content right behind it. In between, the lock can't be judged."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _remove_stale(path: Path, steal: bool) -> None:
    """Move a dead owner's lock out of the way. One process at a time looks and moves, or what another has just put there
    would be moved. Only a process of this machine can know that an owner is dead, and a lock of the kernel's is enough."""
    with _alone(path.parent):
        _remove_judged(path, steal)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Among the processes of this machine, where its file system has locks for that. One that is stopped in here keeps
    nobody waiting."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for turn in range(TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if turn == TRIES - 1:
                    raise OwnedError(
                        f"{printable(folder)} is being taken over by another process: wait for it, then type the same command again"
                    ) from None
                time.sleep(0.1 * (turn + 1))
            except OSError:
                break
        yield
    finally:
        os.close(handle)


def _remove_judged(path: Path, steal: bool) -> None:
    holder = _holder(path)
    if holder is None:
        return
    if not steal and may_be_alive(holder):
        raise OwnedError(
            f"{printable(path.parent)} is in use by process {holder.get('pid')} on {holder.get('host')}: wait for it, or, if "
            "it is surely gone, type the same command with --steal-lock"
        )
    aside = path.with_name(f"{NAME}.{os.getpid()}.stale")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        failpoints.at("lock.aside")
        remove_path(aside)


def holder_of(folder: Path) -> dict[str, Any] | None:
    """Who holds the folder, if anyone who may be alive does."""
    holder = _holder(folder / NAME)
    return holder if holder and may_be_alive(holder) else None


def this_process() -> dict[str, Any]:
    return {"host": host(), "pid": os.getpid(), "started": _started(os.getpid())}


def host() -> str:
    """This machine, since it was started (a process of an earlier start is gone), and among whose processes this one is: a
    container's have numbers of their own."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return socket.gethostname()
    return f"{socket.gethostname()} {boot.read_text()[:8]} {Path('/proc/self/ns/pid').readlink()}"


def may_be_alive(holder: dict[str, Any]) -> bool:
    """Whether the holder may still run: certain only for processes of this host."""
    theirs, ours, pid = str(holder.get("host", "")).split(), host().split(), holder.get("pid")
    if theirs[:1] != ours[:1]:
        return True
    if theirs[1:2] != ours[1:2]:
        return False
    return theirs != ours or not isinstance(pid, int) or holder.get("started") == _started(pid)


def _holder(path: Path) -> dict[str, Any] | None:
    data = _content(path)
    if data is None:
        return None
    with contextlib.suppress(ValueError, RecursionError):
        return dict(unseal(data))
    return {
        "host": "an unreadable lock file",
        "pid": "?",
    }  # not one of ours, or damaged: only --steal-lock may judge it


def _content(path: Path) -> bytes | None:
    """What is in the lock; None where there is none. Over a network a file may be replaced while it is looked at."""
    for turn in range(TRIES):
        try:
            return read_regular_file(path)
        except FileNotFoundError:
            return None
        except ValueError:
            return b""
        except OSError:
            time.sleep(0.1 * turn)
    return b""


def _started(pid: int) -> str | None:
    """When a process of this host began, in the kernel's ticks; None if there is none. Process numbers are used again."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if state in (b"Z", b"X") else fields[18].decode()  # one that has ended, and that nobody asked after
    except OSError:
        return None
