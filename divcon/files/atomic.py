"""Files and folders appear whole or not at all, and last through a power cut."""

import contextlib
import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .. import failpoints
from ..errors import DiskError

if TYPE_CHECKING:
    pass
from .text import printable

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
UNWRITABLE = FULL | {
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
UNSYNCED = {errno.EINVAL, errno.ENOTSUP}  # of file systems that keep their folders in order by themselves


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say it in the user's words when there is no room to write at path."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        room = "What was finished is kept; make room, then type the same command again"
        way = room if error.errno in FULL - {errno.EROFS} else "Look at it with `ls -ld`"
        raise DiskError(
            f"can't write {printable(path)}: {error.strerror}. {way}, or name another place (out=, cache=)"
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write to the path given, and it becomes `path` at the end: durable, and never seen half-written."""
    part = part_path(path)
    with disk_errors(path):
        try:
            make_folder(path.parent)
            for left in orphaned_parts(path):
                left.unlink(missing_ok=True)
            failpoints.at("file.begun")
            yield part
            failpoints.at("file.written")
            fsync(part)
            failpoints.at("file.synced")
            part.replace(path)
            failpoints.at("file.renamed")
            fsync(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def part_path(path: Path, pid: int | None = None) -> Path:
    """What a file or folder is called while a process (this one) writes it."""
    return path.with_name(f"{path.name}.{platform.node()}.{pid or os.getpid()}.part")


def orphaned_parts(path: Path) -> Iterator[Path]:
    """What processes of this machine that are gone had begun to write for a path."""
    name = re.compile(re.escape(f"{path.name}.{platform.node()}.") + r"(\d{1,9})\.part")
    for left in sorted(path.parent.iterdir()):
        match = name.fullmatch(left.name)
        if match and not process_exists(int(match[1])):
            yield left


def process_exists(pid: int) -> bool:
    """Whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def make_folder(folder: Path) -> None:
    """The folder and those above it, with their names on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        fsync(path.parent)


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text)


def remove_path(path: Path) -> None:
    """Remove what has that name, whatever it is, and nothing that a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_folder(folder: Path, first: str) -> None:
    """The folder, beginning with the file that says it is whole: at no moment does a part of it pass for all of it."""
    remove_path(folder / first)
    with contextlib.suppress(FileNotFoundError):
        fsync(folder)
        shutil.rmtree(folder)


def fsync(path: Path) -> None:
    """Past this line a power cut takes nothing of the file, or of the folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise
    finally:
        os.close(handle)
