"""The files in the folder of a stage: what a killed process left there is removed, and what is done is recorded."""

import contextlib
from pathlib import Path
from typing import Any

from ..config import to_json_value
from ..errors import OwnedError
from ..files.atomic import fsync, remove_path
from ..files.integrity import sha256
from . import owner
from .folder import LOCK, WORKING, StageFolder
from .records import versions
from .stage import Summary
from .state import StageState


def clear_half_written(folder: Path) -> None:
    """Remove what a killed process was about to write. Only the folder's owner may call it."""
    owner.clear(folder)
    for path in folder.glob("*.part"):
        remove_path(path)


def tidy(folder: StageFolder) -> None:
    """Remove the files that only a running stage needs."""
    for name in WORKING:
        if name != LOCK:
            with contextlib.suppress(OSError):  # a failure is harmless: the stage is done, and nobody needs these files
                remove_path(folder.path / name)


def tidy_left(folder: StageFolder) -> None:
    """Tidy up for a process that was killed once its stage was done."""
    if folder.has_working_files():
        with (
            contextlib.suppress(OwnedError),
            owner.owned(folder.path),
        ):  # another process that owns the folder tidies up itself
            tidy(folder)
            clear_half_written(folder.path)


def finished_record(folder: StageFolder, state: StageState, summary: Summary) -> dict[str, Any]:
    """Flush the files of the result to the disk, and return the content of stage.json."""
    files = folder.result()
    for path in files:
        fsync(path)
    hashes = {str(path.relative_to(folder.path)): sha256(path) for path in files}
    return {
        "key": state.key,
        "seconds": state.seconds(),
        "summary": to_json_value(summary),
        "versions": versions(),
        "sha256": hashes,
    }
