"""Tar shards: many images behind one another in a few files, read where they lie."""

import contextlib
import math
import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from itertools import product
from pathlib import Path
from typing import NoReturn

from ... import log, signals
from ...errors import InputError, UsageError
from ...files.paths import nearest_existing_folder, shell_quoted
from ...files.regular import open_nonblocking
from ...files.text import printable
from .byte_range import ByteRange, Entry, Wanted, below, reason_of
from .retry import retry
from .tar import BLOCK, BrokenError, members

ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
MOST_SHARDS = 1_000_000
MOST_SHOWN = 255  # bytes of a name, its end, that a decoder is told
OFTEN = 1000  # members, between two looks at what was asked meanwhile
MAGIC = slice(257, 262)
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"([0-9]{1,12})\.\.([0-9]{1,12})")


class Shards:
    """Every file in some tar files, by the shard's path below their common folder and its name in there. `others` were
    named with them, and are no tars."""

    def __init__(self, files: Sequence[Path], others: Sequence[Path] = ()):
        paths, beside = ([Path(os.path.abspath(path)) for path in named] for named in (files, others))  # noqa: PTH100 - a link keeps its name
        self.root = Path(os.path.commonpath([path.parent for path in (*paths, *beside)]))
        self.names, self.others = (
            {os.fsencode(path.relative_to(self.root)) for path in named} for named in (paths, beside)
        )

    @property
    def key(self) -> bytes:
        return b"tar\0" + os.fsencode(self.root)  # whichever of them are read: what was learned of each is believed

    def entries(self, wanted: Wanted = lambda path: True) -> Iterator[Entry]:
        """Members that are no folders, in the order of shards; and of a shard that can't be read to its end, itself."""
        yield from (Entry(other, reason="not_a_tar") for other in sorted(self.others) if wanted(other))
        for done, shard in enumerate(sorted(self.names), 1):
            for count, entry in enumerate(_entries(self._path(shard), shard, wanted)):
                if entry.offset >= 0 or wanted(entry.path):
                    yield entry
                if count % OFTEN == 0:
                    signals.stop_if_requested("nothing was begun")
            log.progress("shards", done, len(self.names))

    def place(self, name: bytes, offset: int, size: int) -> ByteRange:
        slashes = (match.start() for match in re.finditer(b"/", name))
        shard = next(name[:at] for at in slashes if name[:at] in self.names)
        return ByteRange(self._path(shard), offset, size, name[-MOST_SHOWN:])

    def _path(self, shard: bytes) -> bytes:
        return below(os.fsencode(self.root), shard)


def _entries(path: bytes, shard: bytes, wanted: Wanted) -> Iterator[Entry]:
    """A shard's members; of two with the same name, the second is told by its place. What is said of the shard itself is
    said, as of a folder, of its name with a slash."""
    seen = set[bytes]()
    try:
        with retry(lambda: open_nonblocking(path)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BrokenError("not_a_regular_file", "")
            times = status.st_mtime_ns, status.st_ino, status.st_dev
            for member in members(file, status.st_size):
                if not wanted(b"%b/%b" % (shard, member.name)):
                    continue
                name = b"%b/%b" % (shard, member.name)
                while name in seen:
                    name += b"@%d" % member.offset
                seen.add(name)
                yield Entry(name, member.size, *times, member.reason, member.detail, member.offset)
    except OSError as error:
        yield Entry(shard + b"/", reason=reason_of(error), detail=error.strerror or "")
    except BrokenError as broken:
        yield Entry(shard + b"/", reason=broken.reason, detail=broken.detail)


def shards_at(data: Sequence[Path]) -> Shards | None:
    """The tar files that names or a pattern stand for, `shards/{000..123}.tar` or `shards/*.tar`; None where one name is
    that of a folder, or of nothing that looks like a tar."""
    if len(data) == 1 and (data[0].is_dir() or not (data[0].exists() or _is_pattern(data[0]))):
        return None
    files = [file for name in data for file in _files(name)]
    missing = [path for path in files if not path.exists()]
    if missing or not files:
        what = (
            f"{printable(missing[0])} ({len(missing):,} of {len(files):,} shards are missing)"
            if files
            else printable(data[0])
        )
        raise InputError(
            f"there is no {what}: look with `ls {shell_quoted(nearest_existing_folder((missing or data)[0].parent))}`"
        )
    tars = [path for i, path in enumerate(files) if _is_tar(path, look=i == 0)]
    if not tars and len(data) == 1 and data[0].exists():
        _refuse_archive(files[0])
        return None
    if not tars:
        _refuse_others(files)
    return Shards(tars, sorted({*files} - {*tars}))


def _is_pattern(name: Path) -> bool:
    return bool(BRACES.search(str(name))) or has_magic(str(name))


def _files(name: Path) -> list[Path]:
    return [name] if name.exists() else [Path(found) for text in expanded(str(name)) for found in _globbed(text)]


def _is_tar(path: Path, *, look: bool) -> bool:
    """True for what may be one: by its name, unless we look inside; else by its first bytes."""
    named = path.suffix == ".tar"
    if named and not look:
        return True
    begin = _begin(path)
    return not begin.startswith(ARCHIVES) and (named or begin[MAGIC] == b"ustar")


def _begin(path: Path) -> bytes:
    with contextlib.suppress(OSError), open_nonblocking(os.fsencode(path)) as file:
        return file.read(BLOCK)
    return b""


def _refuse_archive(path: Path) -> None:
    if _begin(path).startswith(ARCHIVES):
        raise UsageError(
            f"{printable(path)} is an archive, and none is ever unpacked here: unpack it, and name the folder, or the tars "
            "that come out of it"
        )


def _refuse_others(files: Sequence[Path]) -> NoReturn:
    """Say what to type for several names of which none is a tar."""
    _refuse_archive(files[0])
    if any(path.is_dir() for path in files):
        above = os.path.commonpath([path.absolute().parent for path in files])
        raise UsageError(
            f"one folder at a time, or tar shards: name the folder above them, {shell_quoted(above)}, and choose by include="
        )
    kind = f"include={shlex.quote(f'*{files[0].suffix}')}" if files[0].suffix else "include="
    raise UsageError(
        f"of the {len(files):,} files that were named none is a tar: name the folder that they are in, "
        f"{shell_quoted(files[0].absolute().parent)}, and choose by {kind}"
    )


def _globbed(name: str) -> list[str]:
    return sorted(glob(name)) if has_magic(name) and not os.path.lexists(name) else [name]  # noqa: PTH207 - it may begin at the root


def expanded(pattern: str) -> Iterator[str]:
    """The names that braces stand for: `{000..123}` counts, with as many digits, and `{a,b}` lists."""
    parts = BRACES.split(pattern)
    choices = [_choices(part) if i % 2 else [part] for i, part in enumerate(parts)]
    if math.prod(map(len, choices)) > MOST_SHARDS:
        raise UsageError(f"{pattern}: that is {math.prod(map(len, choices)):,} shards; {MOST_SHARDS:,} at most")
    for names in product(*choices):
        yield "".join(names)


def _choices(braces: str) -> Sequence[str]:
    counted = RANGE.fullmatch(braces)
    if not counted:
        return braces.split(",") if "," in braces else [f"{{{braces}}}"]
    first, last = counted.groups()
    numbers = range(int(first), int(last) + 1)
    if not 0 < len(numbers) <= MOST_SHARDS:
        raise UsageError(f"{{{braces}}}: from the smaller to the larger number, and {MOST_SHARDS:,} of them at most")
    return [f"{n:0{len(first)}}" for n in numbers]
