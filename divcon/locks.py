"""One owner a folder: a file that says which process holds it. No clocks, no heartbeats."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .artifacts import disk, show
from .errors import OwnedError

NAME = "lock"


@contextlib.contextmanager
def owned(folder: Path, *, steal: bool = False) -> Iterator[None]:
    """Hold the folder; OwnedError names the holder if it may be alive. One that is gone from this host is replaced."""
    path = folder / NAME
    with disk(path):
        folder.mkdir(parents=True, exist_ok=True)
        _take(path, steal)
    try:
        yield
    finally:
        if _holder(path) == me():
            path.unlink(missing_ok=True)


def _take(path: Path, steal: bool) -> None:
    """Create the lock with its content in one act: a hard link fails where the name exists."""
    mine = path.with_name(f"{NAME}.{socket.gethostname()}.{os.getpid()}")
    mine.write_text(json.dumps(me()))
    try:
        while True:
            with contextlib.suppress(FileExistsError):
                os.link(mine, path)
                return
            _remove_stale(path, steal)
    finally:
        mine.unlink(missing_ok=True)


def _remove_stale(path: Path, steal: bool) -> None:
    """Move a dead owner's lock out of the way, by a rename that only one process can win."""
    holder = _holder(path)
    if holder is None:
        return
    if not steal and alive(holder):
        raise OwnedError(
            f"{show(path.parent)} is in use by process {holder.get('pid')} on {holder.get('host')}: wait for it, or, if "
            "it is surely gone, type the same command with --steal-lock"
        )
    aside = path.with_name(f"{NAME}.{os.getpid()}.stale")
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        aside.unlink()


def holder_of(folder: Path) -> dict[str, Any] | None:
    """Who holds the folder, if anyone who may be alive does."""
    holder = _holder(folder / NAME)
    return holder if holder and alive(holder) else None


def me() -> dict[str, Any]:
    return {"host": host(), "pid": os.getpid(), "started": _started(os.getpid())}


def host() -> str:
    """This machine, since it was started: a process of an earlier start is gone."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()} {boot.read_text()[:8]}" if boot.exists() else socket.gethostname()


def alive(holder: dict[str, Any]) -> bool:
    """Whether the holder may still run: certain only for processes of this host."""
    if str(holder.get("host", "")).split()[:1] != host().split()[:1]:
        return True
    return holder.get("host") == host() and holder.get("started") == _started(int(holder.get("pid", 0)))


def _holder(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        try:
            holder = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        if isinstance(holder, dict):
            return holder
    return {
        "host": "an unreadable lock file",
        "pid": "?",
    }  # not one of ours, or damaged: only --steal-lock may judge it


def _started(pid: int) -> str | None:
    """When a process of this host began, in the kernel's ticks; None if there is none. Process numbers are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
