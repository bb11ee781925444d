"""Each folder has one owner: its lock file names the process, and its job of a scheduler. There are no clocks and no heartbeats."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import failpoints
from ..errors import OwnedError
from ..files.atomic import fsync, make_folder, remove_path
from ..files.disk_errors import disk_errors
from ..files.integrity import seal, unseal
from ..files.regular import read_regular_file
from ..files.text import printable
from .folder import LOCK
from .scheduler import ScheduledJob, current_job

TRIES = 4
PATIENCE = 60.0  # seconds: to write the index of very many images takes that long
UNLINKED = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}  # of file systems without hard links


@dataclass(frozen=True)
class Owner:
    """A process: its host, its number, when it began, in the kernel's ticks, and its job, if a scheduler began it."""

    host: str
    pid: int | str
    started: str | None
    job: ScheduledJob | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Owner":
        """The owner that the content of a lock names."""
        job = ScheduledJob.of(content.get("job"))
        return cls(str(content.get("host", "")), content.get("pid", "?"), content.get("started"), job)

    def may_be_alive(self) -> bool:
        """False only for a process of this host that is surely gone, and for one of an attempt of this job that is over."""
        theirs, ours = self.host.split(), host().split()
        if self.job is not None and self.job.is_over(current_job(), same_container=theirs == ours):
            return False
        if theirs[:1] != ours[:1]:
            return True
        if theirs[1:2] != ours[1:2]:
            return False
        return theirs != ours or not isinstance(self.pid, int) or self.started == _started(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


UNREADABLE = Owner("an unreadable lock file", "?", None)  # of another program, or damaged: only --steal-lock removes it


@contextlib.contextmanager
def owned(folder: Path, *, steal: bool = False) -> Iterator[None]:
    """Own the folder. OwnedError names its owner, if that may be alive; an owner of this host that is gone is replaced."""
    path = folder / LOCK
    with disk_errors(path):
        make_folder(folder)
        _take(path, steal)
        failpoints.at("lock.taken")
    try:
        yield
    finally:
        if _owner_in(path) == this_process():
            path.unlink(missing_ok=True)
            failpoints.at("lock.freed")


@contextlib.contextmanager
def owned_briefly(folder: Path, *, steal: bool = False) -> Iterator[None]:
    """Own the folder for a moment; wait for processes that own it before. OwnedError, if that takes over a minute."""
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
    """Remove the files beside a lock. Killed processes left them; waiting processes write theirs again. Only the owner of the
    folder may call this."""
    for left in folder.glob(f"{LOCK}.*"):
        remove_path(left)


def check(folder: Path) -> None:
    """OwnedError if the folder was taken from this process, which must then write nothing more there."""
    owner = _owner_in(folder / LOCK)
    if owner != this_process():
        by = str(owner) if owner else "someone who removed its lock"
        raise OwnedError(
            f"{printable(folder)} was taken over by {by}; nothing more is written there. Wait for it, or, once it is gone, "
            "type the same command again"
        )


def _take(path: Path, steal: bool) -> None:
    """Create the lock with its content in one act: a hard link fails where the name exists."""
    mine = path.with_name(f"{LOCK}.{socket.gethostname()}.{os.getpid()}")
    try:
        while True:
            with contextlib.suppress(FileNotFoundError):  # the folder's owner clears such files away
                mine.write_text(seal(json.dumps(asdict(this_process()))))
                fsync(mine)  # an empty lock after a power cut could not be judged
                failpoints.at("lock.written")
                if _linked(mine, path):
                    return
            _remove_stale(path, steal)
    finally:
        mine.unlink(missing_ok=True)


def _linked(mine: Path, path: Path) -> bool:
    """True if this process made the lock. Over a network the answer to a successful link may be lost, but then the file has
    two names."""
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
    """Create the lock where there are no hard links: first the name, then the content. Between the two, nobody can read the
    owner."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _remove_stale(path: Path, steal: bool) -> None:
    """Move the lock of a dead owner aside. One process at a time does this: a second one would move the first one's new lock.
    Only processes of this machine can know that an owner is dead, so a lock of the kernel is enough."""
    with _kernel_lock(path.parent):
        _move_aside(path, steal)


@contextlib.contextmanager
def _kernel_lock(folder: Path) -> Iterator[None]:
    """Hold the kernel's lock on a folder, where its file system has such locks. Others wait for less than a second."""
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


def _move_aside(path: Path, steal: bool) -> None:
    owner = _owner_in(path)
    if owner is None:
        return
    if not steal and owner.may_be_alive():
        raise OwnedError(
            f"{printable(path.parent)} is in use by {owner}: wait for it, or, if "
            "it is surely gone, type the same command with --steal-lock"
        )
    aside = path.with_name(f"{LOCK}.{os.getpid()}.stale")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        failpoints.at("lock.aside")
        remove_path(aside)


def free_dead(run: Path) -> None:
    """Remove the locks in the folder of a run whose owners were on this host and are gone: other hosts can't know that."""
    for path in [*run.glob(LOCK), *run.glob(f"*/{LOCK}"), *run.glob(f"*/*/{LOCK}")]:
        with contextlib.suppress(OwnedError, OSError):
            _remove_stale(path, steal=False)


def owner_of(folder: Path) -> Owner | None:
    """The owner of the folder, if there is one that may be alive."""
    owner = _owner_in(folder / LOCK)
    return owner if owner and owner.may_be_alive() else None


def this_process() -> Owner:
    return Owner(host(), os.getpid(), _started(os.getpid()), current_job())


def host() -> str:
    """This machine since its last start, and the name space of its process numbers: a container has numbers of its own."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return socket.gethostname()
    return f"{socket.gethostname()} {boot.read_text()[:8]} {Path('/proc/self/ns/pid').readlink()}"


def _owner_in(path: Path) -> Owner | None:
    """The owner that a lock file names; None where there is no lock."""
    data = _content(path)
    if data is None:
        return None
    with contextlib.suppress(ValueError, RecursionError, TypeError):
        return Owner.of(unseal(data))
    return UNREADABLE


def _content(path: Path) -> bytes | None:
    """The content of the lock; None where there is none. Over a network a file may be replaced while it is read."""
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
    """The time at which a process of this host began, in the kernel's ticks; None if it has ended. Process numbers are
    reused."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (
            None if state in (b"Z", b"X") else fields[18].decode()
        )  # it has ended, and its parent has not asked for it
    except OSError:
        return None
