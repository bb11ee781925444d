"""Check that the files of a run are as they were written."""

from collections.abc import Callable
from pathlib import Path

from ..errors import DamagedError, few
from ..files.integrity import hash_difference, mismatches, read_json, read_with_digest, sha256
from ..files.paths import shell_quoted
from ..files.text import printable
from .folder import CHECKPOINT, FACTORS, MANIFESTS, STATE, RunFolder
from .records import RunRecord


def verify_run(folder: Path) -> list[str]:
    """The differences, anywhere below a run's folder, from the hashes written with its files: the collection's index, each
    finished stage, and the checkpoints of the others."""
    wrong = []
    for manifest in sorted(path for name in MANIFESTS for path in folder.rglob(name)):
        here = mismatches(manifest) or misplaced(manifest)
        wrong += here if manifest.exists() else []  # a checkpoint that was removed meanwhile is no damage
    sealed = _unreadable(STATE, read_json, folder) + _unreadable(FACTORS, read_with_digest, folder)
    return wrong + _exchanged(folder) + sealed


def verify_stage(run: Path, stage: str) -> None:
    """DamagedError, if the files of a finished stage are not as they were when it was done."""
    wrong = mismatches(RunFolder(run).stage(stage).record)
    if wrong:
        raise DamagedError(f"{few(wrong, '; ')}. Put back a copy, or type: divcon redo {shell_quoted(run)} {stage}")


def misplaced(manifest: Path, of: str | None = None) -> list[str]:
    """The differences between a checkpoint's manifest and the folder it lies in: one that was copied, or moved, has the
    right hashes and belongs elsewhere. `of` is the digest of what the stage was asked for."""
    step = CHECKPOINT.fullmatch(manifest.parent.name)
    if not step:
        return []
    found = read_json(manifest)
    if found.get("step") != int(step[1]):
        return [f"{printable(manifest)}: expected step {int(step[1])}, found step {printable(str(found.get('step')))}"]
    if of in (None, found.get("of")):
        return []
    return [f"{printable(manifest)}: expected {of}, found that of another training"]


def _exchanged(folder: Path) -> list[str]:
    """Stages with the right hashes that are not those with which the run was finished."""
    run = RunFolder(folder)
    if not run.is_run:
        return []
    wrong = []
    for stage, expected in RunRecord.read(folder).done.items():
        path = run.stage(stage).record
        if path.is_file() and (found := sha256(path)) != expected:
            difference = hash_difference(expected, found)
            wrong.append(f"{printable(path)}: {difference}: the stage is not the one that the run was finished with")
    return wrong


def _unreadable(name: str, read: Callable[[Path], object], folder: Path) -> list[str]:
    """Files of this name whose own hash does not fit them."""
    wrong = []
    for path in sorted(folder.rglob(name)):
        try:
            read(path)
        except DamagedError as error:
            wrong.append(str(error))
        except FileNotFoundError:
            pass
    return wrong
