"""Refuse a run's folder that may not be written to, or was begun differently."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError, DiskError, OwnedError, UsageError
from ..files.mounts import mount_of
from ..files.paths import Data, as_paths, shell_quoted
from ..files.text import printable
from . import owner
from .folder import LOCK, RunFolder
from .records import ARITHMETIC, RunRecord

COMMON = ("limit", "include", "exclude", "near_duplicates", *ARITHMETIC)  # options that every stage depends on


def refuse_links(run: Path, stages: Sequence[str]) -> None:
    """OwnedError, where a link in place of a stage's folder leads out of the run: nothing is written or removed there."""
    for stage in stages:
        if not (run / stage).resolve().is_relative_to(run.resolve()):
            raise OwnedError(
                f"{printable(run / stage)} leads out of the run, by a link; remove the link, or use another folder"
            )


def refuse_bucket(folder: Path, option: str = "out") -> None:
    """DiskError for a folder on a mounted bucket: a file could be seen there half-written after a kill."""
    mount = mount_of(folder)
    if mount is not None and (program := mount.bucket_program):
        raise DiskError(
            f"{option}={printable(folder)} lies on a mounted bucket ({program} at {printable(mount.folder)}), where a rename is not "
            f"atomic: after a kill, files there could be damaged. Name a folder of a disk or of a shared file system, and copy it "
            f"when it is done: cp -r {shell_quoted(folder.name)} {shell_quoted(folder.parent)}/"
        )


def refuse_foreign_folder(folder: Path, data: Data) -> None:
    """Refuse a folder that holds something else than a run, lies among the images, or on a mounted bucket."""
    refuse_bucket(folder)
    for root in as_paths(data):
        if folder.resolve().is_relative_to(root.resolve()):
            raise UsageError(
                f"out={printable(folder)} lies inside the collection; name a folder outside {printable(root)}"
            )
    if folder.exists() and not folder.is_dir():
        raise OwnedError(f"out={printable(folder)} is a file; name a folder that is not there yet")
    passing = re.compile(rf".*\.part|{LOCK}(\..*)?")
    foreign = folder.is_dir() and any(not passing.fullmatch(path.name) for path in folder.iterdir())
    if foreign and not RunFolder(folder).is_run:
        raise OwnedError(
            f"out={printable(folder)} holds something else than a run; name another folder, or one not there yet"
        )


def check_common(before: RunRecord, now: RunRecord, folder: Path) -> None:
    """Refuse to go on with other images, or another kind of arithmetic, than the run's finished stages saw."""
    changed = [change for name in COMMON for change in before.changes(now, [name])]
    changed += [f"{typed} was {old}, is {new}" for typed, old, new in _changed_ranks(before, now)]
    if changed:
        raise UsageError(
            f"stage {before.stages[0]} in {printable(folder)} was done with other options: {'; '.join(changed)}. "
            f"Use another folder (out=...), or type: divcon redo {shell_quoted(folder)} {before.stages[0]}"
        )
    if before.images != now.images:
        raise DataError(
            f"the images changed since {printable(folder)} was begun: {before.used:,} were used, {now.used:,} are there now. "
            "Bring the old ones back, or use another folder (out=...)"
        )


def _changed_ranks(before: RunRecord, now: RunRecord) -> list[tuple[str, int, int]]:
    """The numbers of ranks that differ: as typed, before, and now."""
    names = {"ranks": "ranks", "expert_ranks": "expert.ranks"}
    pairs = [(typed, before.machine.get(name, 1), now.machine.get(name, 1)) for name, typed in names.items()]
    return [(typed, old, new) for typed, old, new in pairs if old != new]


def has_progress(folder: Path) -> bool:
    """True if other options would lose something: a finished stage, a checkpoint, or a process that is running."""
    run = RunFolder(folder)
    begun = run.begun_stages()
    done = any(run.stage(name).is_done for name in begun)
    return done or run.has_checkpoints() or any(owner.owner_of(folder / name) for name in begun)
