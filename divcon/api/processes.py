"""Processes that a command starts beside itself, and the folder by which it talks to them. Neither outlives the command."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..ranks import LOOPBACK

PREFIX = "divcon-with-"
OWNER = "owner"  # a file that is locked as long as the command lives
NEW = 60.0  # seconds: a younger folder may belong to a command that has not locked it yet


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """Yield a new folder, and remove it afterwards; remove those that killed commands have left, too."""
    _remove_left()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        with (folder / OWNER).open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            yield folder


@contextlib.contextmanager
def started(commands: Sequence[Sequence[str]], **options: Any) -> Iterator[list["subprocess.Popen[str]"]]:
    """Start the commands, with the options of subprocess.Popen; end all of them after the block, whatever ends it."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, text=True, **options))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def rank_environment(threads: int) -> Iterator[None]:
    """Set the variables that the ranks inherit: their threads, and that they talk through the loopback interface only."""
    wanted = {"OMP_NUM_THREADS": str(threads), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    wanted |= {"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK)}
    before = {
        name: os.environ.get(name) for name in (*wanted, "TORCHELASTIC_SIGNALS_TO_HANDLE")
    }  # torch's launcher sets it
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _remove_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # that of another user, or of a command that lives
            if folder.is_symlink() or time.time() - folder.stat().st_mtime < NEW or folder.stat().st_uid != os.getuid():
                continue
            with (folder / OWNER).open("w") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
