"""A collection looked through: every file in it, hashed and decoded once."""

import base64
import contextlib
import fnmatch
import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ... import failpoints, log, signals
from ...files import atomic, caches, integrity
from ..decoding.formats import DECODER_VERSIONS
from ..sources.byte_range import ByteRange, Entry, Source, Wanted
from .decode_worker import judged
from .index import Found, Index, Near
from .validate import Verdict

LAYOUT = f"2, {DECODER_VERSIONS}".encode()
SAVE_SECONDS = 10.0
# A file that changes twice within a tick of the file system's clock shows only one time.
RACY_NS = 2_000_000_000
# These say more about a moment than about a file.
FLEETING = {"permission_denied", "io_error", "decoder_crashed"}
NO_IMAGE = {"not_an_image", "format_not_allowed", "vector_image", "empty_file"}
SYSTEMS = {b"Thumbs.db", b"ehthumbs.db", b"desktop.ini", b".DS_Store", b".directory"}


def scan(
    source: Source,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    near_duplicates: Near = "keep",
    workers: int | None = None,
    cache: Path,
) -> Index:
    """What is there; what an earlier scan learned about an unchanged file is believed.

    Patterns are matched against the path below the folder, and `*` matches slashes too: `*.jpg`, `thumbs/*`.
    """
    entries = list(source.entries(wanted(include, exclude)))
    memory = Memory.load(memory_of(source, cache))
    _learn(source, [entry for entry in entries if not entry.reason and not memory.knows(entry)], memory, workers)
    return Index.of((_found(entry, memory) for entry in entries), near_duplicates)


def memory_of(source: Source, cache: Path) -> Path:
    """The file in which what is learned of a source is kept."""
    return cache / "index" / f"{hashlib.sha256(source.key).hexdigest()[:16]}.arrow"


def _learn(source: Source, entries: Sequence[Entry], memory: "Memory", workers: int | None) -> None:
    """Have the files judged, each once however many links lead to it; an interruption keeps what is done."""
    files = _by_file(source, entries)
    failpoints.at("scan.listed")
    try:
        with contextlib.closing(judged(list(files), workers=workers or len(os.sched_getaffinity(0)))) as verdicts:
            for done, (place, verdict) in enumerate(verdicts, 1):
                memory.learn(files[place], verdict)
                failpoints.at("scan.judged")
                log.progress("scan", done, len(files))
                signals.stop_here("what was looked through is remembered")
    finally:
        memory.save()


def _by_file(source: Source, entries: Sequence[Entry]) -> dict[ByteRange, list[Entry]]:
    """The names that lead to one and the same place, by that of the first. Equal numbers of files only say where to look
    closer, for a union of file systems, or one in user space, may number two files alike: their real paths tell. A hard
    link has a real path of its own, and is read as a copy is."""
    numbers = Counter((entry.device, entry.inode, entry.offset) for entry in entries)
    files: dict[ByteRange, tuple[ByteRange, list[Entry]]] = {}
    for entry in entries:
        place = source.place(entry.path, entry.offset, entry.size)
        alone = numbers[entry.device, entry.inode, entry.offset] == 1
        real = place if alone else place._replace(file=os.path.realpath(place.file), name=b"")
        files.setdefault(real, (place, []))[1].append(entry)
    return dict(files.values())


def _found(entry: Entry, memory: "Memory") -> Found:
    if entry.reason:
        return Found(entry.path, reason=entry.reason, detail=entry.detail, offset=entry.offset)
    verdict = memory.verdicts[entry.path]
    digest = bytes.fromhex(verdict.hash) or None
    seen = base64.b64decode(verdict.looks)
    why = _why(entry, verdict)
    return Found(
        entry.path, verdict.width, verdict.height, verdict.size, digest, why, verdict.detail, seen, entry.offset
    )


def _why(entry: Entry, verdict: Verdict) -> str:
    """The reason, but for what a system leaves in folders to remember how they were shown: nobody misses an image there."""
    name, folders = entry.path.rpartition(b"/")[2], entry.path.split(b"/")[:-1]
    systems = name in SYSTEMS or name.startswith(b"._") or b"__MACOSX" in folders
    return "not_candidate" if verdict.reason in NO_IMAGE and systems else verdict.reason


def wanted(include: Sequence[str], exclude: Sequence[str]) -> Wanted:
    """Whether a path matches one of `include` (if there are any) and none of `exclude`. A folder, or a shard, that can't be
    read (its name ends in a slash) is left out by `exclude` only: what is in it might have matched."""
    includes, excludes = _patterns(include), _patterns(exclude)
    return lambda path: (
        (path.endswith(b"/") or not include or bool(includes(path))) and not (exclude and excludes(path))
    )


def _patterns(globs: Iterable[str]) -> Callable[[bytes], Any]:
    # Latin-1 on both sides: bytes as letters, one by one, whatever encoding the names are in.
    texts = [fnmatch.translate(os.fsencode(glob).decode("latin-1")) for glob in globs]
    match = re.compile("|".join(texts)).match
    return lambda path: match(path.decode("latin-1"))


@dataclass
class Memory:
    """What earlier scans of this folder learned, by path. It is a cache: lost, it costs time and nothing else."""

    file: Path
    verdicts: dict[bytes, Verdict] = field(default_factory=dict)
    fresh: bool = False
    began_ns: int = field(default_factory=time.time_ns)
    save_at: float = field(default_factory=lambda: time.monotonic() + SAVE_SECONDS)

    @classmethod
    def load(cls, file: Path) -> "Memory":
        try:
            table = pa.ipc.open_file(integrity.read_with_digest(file)).read_all()
            table.validate(full=True)  # to read an array whose parts do not fit can end the process
            if table.schema.metadata != {b"layout": LAYOUT}:
                return cls(file)
            paths, *columns = (column.to_pylist() for column in table.columns)
            return cls(file, dict(zip(paths, map(Verdict, *columns), strict=True)))
        except FileNotFoundError:
            return cls(file)
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            log.warning(f"{error}. Every file is looked at again")
            return cls(file)

    def knows(self, entry: Entry) -> bool:
        verdict = self.verdicts.get(entry.path)
        return verdict is not None and verdict[:3] == (entry.size, entry.mtime_ns, entry.inode)

    def learn(self, names: Sequence[Entry], verdict: Verdict) -> None:
        """What was found out about the file of these names."""
        for entry in names:
            unread = verdict._replace(size=entry.size, mtime_ns=entry.mtime_ns, inode=entry.inode)
            self.verdicts[entry.path] = verdict if verdict.inode else unread
        self.fresh = True
        if time.monotonic() > self.save_at:
            self.save()

    def forget(self, path: bytes) -> None:
        """What was learned of a file has turned out to be wrong, though its size and time are the same."""
        self.fresh = self.verdicts.pop(path, None) is not None
        self.save()

    def save(self) -> None:
        if not self.fresh:
            return
        began = time.monotonic()
        sure = {path: verdict for path, verdict in self.verdicts.items() if self._sure(verdict)}
        names = ("path", *Verdict._fields)
        columns = [list(sure), *(list(column) for column in zip(*sure.values()))] if sure else [[] for _ in names]
        table = pa.table(dict(zip(names, columns))).replace_schema_metadata({b"layout": LAYOUT})
        with caches.unless_closed(self.file.parents[1]), atomic.atomic_write(self.file) as part:
            with part.open("wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            integrity.append_digest(part)
        # Of a long scan the writing takes a small share, however long the list has become.
        took = time.monotonic() - began
        self.fresh, self.save_at = False, time.monotonic() + max(SAVE_SECONDS, 20 * took)

    def _sure(self, verdict: Verdict) -> bool:
        return verdict.reason not in FLEETING and verdict.mtime_ns < self.began_ns - RACY_NS
