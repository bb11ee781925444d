"""Mounted buckets: object stores that look like a folder, where a rename copies an object and is not atomic.

No quick trial finds them: a rename that copies differs from an atomic one only at the moment of a kill. So they are known by
their names in the table of mounts.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .paths import nearest_existing_folder

MOUNTINFO = Path("/proc/self/mountinfo")  # of Linux; elsewhere no bucket is found
BUCKETS = {
    "blobfuse", "blobfuse2", "cosfs", "gcsfuse", "geesefs", "goofys", "mountpoint-s3", "mount-s3", "ossfs", "rclone", "s3fs",
}  # fmt: skip


@dataclass(frozen=True)
class Mount:
    """A mounted file system: its folder, its type, and what is mounted, such as "fuse.gcsfuse" and the name of a bucket."""

    folder: Path
    kind: str
    source: str

    @property
    def bucket_program(self) -> str:
        """The program that shows a bucket as this file system; empty for any other file system.

        Older versions of some programs are of the type "fuse", and have their name in the source, as in "s3fs#bucket".
        """
        family, _, program = self.kind.partition(".")
        named = program or re.split("[#:@]", self.source)[0]
        return named if family == "fuse" and named in BUCKETS else ""


def mount_of(path: Path) -> Mount | None:
    """Return the mount that holds a path, or would hold it once it is made; None where the system has no table of mounts."""
    real, found = Path(os.path.realpath(nearest_existing_folder(path))), None
    for mount in _mounts():  # a later mount hides an earlier one of the same folder
        if real.is_relative_to(mount.folder) and (found is None or mount.folder.is_relative_to(found.folder)):
            found = mount
    return found


def _mounts() -> Iterator[Mount]:
    """Yield the lines of the table that have the form of proc_pid_mountinfo(5)."""
    table = MOUNTINFO.read_bytes() if MOUNTINFO.exists() else b""
    for line in table.split(b"\n"):
        before, _, after = (part.split() for part in line.partition(b" - "))
        if len(before) >= 5 and len(after) >= 2:
            yield Mount(Path(_unescaped(before[4])), _unescaped(after[0]), _unescaped(after[1]))


def _unescaped(word: bytes) -> str:
    """Return a word of the table: the kernel writes a space as \\040."""
    return os.fsdecode(re.sub(rb"\\([0-3][0-7]{2})", lambda match: bytes([int(match[1], 8)]), word))
