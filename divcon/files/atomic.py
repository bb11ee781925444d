"""Atomic writes: a file or folder appears complete or not at all, and survives a power cut."""

import contextlib
import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from .. import failpoints
from .disk_errors import disk_errors

FSYNC_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP}  # these file systems write their folders in order by themselves


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; at the end of the block the file is synced and renamed to `path`.

    After an error the temporary file is removed and `path` is unchanged. Raises DiskError if the disk is full or closed.
    """
    part = part_path(path)
    with disk_errors(path):
        try:
            make_folder(path.parent)
            for orphan in orphaned_parts(path):
                orphan.unlink(missing_ok=True)
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


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as part:
        part.write_text(text)


def part_path(path: Path) -> Path:
    """The temporary name of a file or folder while this process writes it."""
    return path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.part")


def orphaned_parts(path: Path) -> Iterator[Path]:
    """Yield the temporary files for `path` that ended processes of this machine have left."""
    name = re.compile(re.escape(f"{path.name}.{platform.node()}.") + r"(\d{1,9})\.part")
    for other in sorted(path.parent.iterdir()):
        match = name.fullmatch(other.name)
        if match and not _process_exists(int(match[1])):
            yield other


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, and sync their names to the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        fsync(path.parent)


def remove_path(path: Path) -> None:
    """Remove a file, a link or a folder; the target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_folder(folder: Path, marker: str) -> None:
    """Remove a folder; its completion `marker` goes first, so that a half-removed folder never looks complete."""
    remove_path(folder / marker)
    with contextlib.suppress(FileNotFoundError):
        fsync(folder)
        shutil.rmtree(folder)


def fsync(path: Path) -> None:
    """Sync a file, or a folder's list of names, to the disk: afterwards a power cut loses nothing of it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in FSYNC_UNSUPPORTED:
            raise
    finally:
        os.close(handle)
