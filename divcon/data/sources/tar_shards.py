"""Tar shards: a few tar files with many images each, read in place."""

import contextlib
import copy
import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from ... import log, signals
from ...errors import InputError, UsageError
from ...files.paths import nearest_existing_folder, shell_quoted
from ...files.regular import open_nonblocking
from ...files.text import printable
from .path_patterns import is_pattern, matching_paths
from .retry import retry
from .source import ByteRange, Entry, PathFilter, file_entry, join_path, reason_of
from .tar import BLOCK, BrokenTarError, members

# The first bytes of zip, rar, 7z, gzip, bzip2, xz and zstandard.
ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
MAX_DECODER_NAME = 255  # bytes, from the end of a name, that a decoder is told
SIGNAL_INTERVAL = 1000  # members between two looks for a signal to stop
MAGIC = slice(257, 262)


class TarShards:
    """Every file in some tar files, by the path of its shard below their common folder and its name in the shard.

    `others` are files that were named with the shards and are no tars.
    """

    unlabeled = "a labeled folder is wanted, and these are tar shards: unpack them"

    def __init__(self, files: Sequence[Path], others: Sequence[Path] = ()):
        paths, other_paths = ([Path(os.path.abspath(path)) for path in named] for named in (files, others))  # noqa: PTH100 - a link keeps its name
        self.root = Path(os.path.commonpath([path.parent for path in (*paths, *other_paths)]))
        self.names, self.others = (
            {os.fsencode(path.relative_to(self.root)) for path in named} for named in (paths, other_paths)
        )

    @property
    def key(self) -> bytes:
        return b"tar\0" + os.fsencode(self.root)  # one cache of scans for all shards of a folder, whichever are named

    def entries(self, accept: PathFilter) -> Iterator[Entry]:
        """Yield the members that are no folders, shard by shard; and the shard itself where it can't be read to its end."""
        yield from (Entry(other, reason="not_a_tar") for other in sorted(self.others) if accept(other))
        for done, shard in enumerate(sorted(self.names), 1):
            for count, entry in enumerate(_entries(self._path(shard), shard, accept)):
                if entry.offset >= 0 or accept(entry.path):
                    yield entry
                if count % SIGNAL_INTERVAL == 0:
                    signals.stop_if_requested("nothing was begun")
            log.progress("shards", done, len(self.names))

    def files(self, accept: PathFilter) -> Iterator[Entry]:
        """Yield the shards themselves, and the files beside them; `accept` is for the members."""
        for names, mark in ((self.names, b"tar"), (self.others, b"no tar")):
            for name in sorted(names):
                entry = file_entry(name, Path(os.fsdecode(self._path(name))))
                yield entry._replace(detail=f"{mark.decode()} {entry.detail}")

    def share(self, number: int, count: int) -> "TarShards":
        """Return the source of some of the shards: each is read by one process."""
        some = copy.copy(self)
        some.names, some.others = ({*sorted(names)[number::count]} for names in (self.names, self.others))
        return some

    def byte_range(self, name: bytes, offset: int, size: int) -> ByteRange:
        slashes = (match.start() for match in re.finditer(b"/", name))
        shard = next(name[:slash] for slash in slashes if name[:slash] in self.names)
        return ByteRange(self._path(shard), offset, size, name[-MAX_DECODER_NAME:])

    def hint(self, rejected: Sequence[bytes]) -> str:
        return ""

    def _path(self, shard: bytes) -> bytes:
        return join_path(os.fsencode(self.root), shard)


def _entries(path: bytes, shard: bytes, accept: PathFilter) -> Iterator[Entry]:
    """Yield the members of a shard; the second of two members with one name has its offset added to the name.

    A shard that can't be read is an entry whose name ends in a slash, as that of a folder that can't be read.
    """
    names = set[bytes]()
    try:
        with retry(lambda: open_nonblocking(path)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BrokenTarError("not_a_regular_file", "")
            times = status.st_mtime_ns, status.st_ino, status.st_dev
            for member in members(file, status.st_size):
                name = b"%b/%b" % (shard, member.name)
                if not accept(name):
                    continue
                while name in names:
                    name += b"@%d" % member.offset
                names.add(name)
                yield Entry(name, member.size, *times, member.reason, member.detail, member.offset)
    except OSError as error:
        yield Entry(shard + b"/", reason=reason_of(error), detail=error.strerror or "")
    except BrokenTarError as broken:
        yield Entry(shard + b"/", reason=broken.reason, detail=broken.detail)


def open_tar_shards(data: Sequence[Path]) -> TarShards | None:
    """Return the tar files that paths or patterns name; None for one path that is a folder, missing, or no tar.

    InputError names shards that are missing; UsageError refuses archives of other kinds, and several paths without a tar.
    """
    if len(data) == 1 and (data[0].is_dir() or not (data[0].exists() or is_pattern(data[0]))):
        return None
    files = [file for path in data for file in matching_paths(path)]
    missing = [path for path in files if not path.exists()]
    if missing or not files:
        raise _missing_shards(missing, len(files), data[0])
    tars = [path for i, path in enumerate(files) if _is_tar(path, read=i == 0)]
    if not tars and len(data) == 1 and data[0].exists():
        _refuse_archive(files[0])
        return None
    if not tars:
        _refuse_others(files)
    return TarShards(tars, sorted({*files} - {*tars}))


def _missing_shards(missing: Sequence[Path], count: int, pattern: Path) -> InputError:
    first = missing[0] if missing else pattern
    how_many = f" ({len(missing):,} of {count:,} shards are missing)" if missing else ""
    folder = shell_quoted(nearest_existing_folder(first.parent))
    return InputError(f"there is no {printable(first)}{how_many}: look with `ls {folder}`")


def _is_tar(path: Path, *, read: bool) -> bool:
    """Return true for a file named .tar; with `read`, its first bytes must not be those of another archive."""
    named_tar = path.suffix == ".tar"
    if named_tar and not read:
        return True
    begin = _first_block(path)
    return not begin.startswith(ARCHIVES) and (named_tar or begin[MAGIC] == b"ustar")


def _first_block(path: Path) -> bytes:
    with contextlib.suppress(OSError), open_nonblocking(os.fsencode(path)) as file:
        return file.read(BLOCK)
    return b""


def _refuse_archive(path: Path) -> None:
    if _first_block(path).startswith(ARCHIVES):
        raise UsageError(
            f"{printable(path)} is an archive, and archives are never unpacked here: unpack it, and name the folder or the "
            "tars that come out of it"
        )


def _refuse_others(files: Sequence[Path]) -> NoReturn:
    """Say what to type instead of several paths without a tar among them."""
    _refuse_archive(files[0])
    if any(path.is_dir() for path in files):
        folder = os.path.commonpath([path.absolute().parent for path in files])
        raise UsageError(
            f"one folder at a time, or tar shards: name the folder above them, {shell_quoted(folder)}, and choose by include="
        )
    option = f"include={shlex.quote(f'*{files[0].suffix}')}" if files[0].suffix else "include="
    raise UsageError(
        f"none of the {len(files):,} files that were named is a tar: name the folder that they are in, "
        f"{shell_quoted(files[0].absolute().parent)}, and choose by {option}"
    )
