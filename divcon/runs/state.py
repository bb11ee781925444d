"""The state of a stage that is being done: state.json, and the time that it took so far."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..config import to_json_value
from ..errors import DamagedError, Error, StoppedError
from ..files.integrity import read_json, write_json
from ..log import warning
from . import owner
from .folder import StageFolder
from .json_files import as_record
from .records import StateRecord


class StageState:
    """Keeps state.json true. `key` is what the stage was asked for; `before` are the seconds that earlier processes took."""

    def __init__(self, folder: StageFolder, key: Any, before: float = 0.0):
        self.folder, self.key, self.before = folder, key, before
        self.begun = time.monotonic()

    def seconds(self) -> float:
        """The time spent on this stage, by all processes that worked on it."""
        return round(self.before + time.monotonic() - self.begun, 3)

    def check_owner(self) -> None:
        """OwnedError, if the folder was taken over."""
        owner.check(self.folder.path)

    def write(self, state: str = "running", why: str = "") -> None:
        self.check_owner()
        record = StateRecord(state, self.seconds(), why, self.key)
        write_json(self.folder.state, {**to_json_value(record), **asdict(owner.this_process())})

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Say that the stage is running, and, if it ends early, why."""
        self.write()
        try:
            yield
        except BaseException as error:
            if isinstance(error, OSError | Error):
                self.check_owner()  # who has taken the folder over clears away what was being written
            with contextlib.suppress(Error):
                stopped = isinstance(error, StoppedError | KeyboardInterrupt)
                self.write("interrupted" if stopped else "failed", f"{type(error).__name__}: {error}")
            raise


def begun_state(folder: StageFolder, record: StateRecord) -> str:
    """The state of a stage that has a state.json: one that says "running", and has no owner, was killed without a word."""
    alive = record.state != "running" or owner.owner_of(folder.path) is not None
    return record.state if alive else "interrupted"


def state_left(folder: StageFolder, key: Any, key_digest: str) -> StateRecord | None:
    """The state that an earlier attempt left. Where it can't be read, its checkpoints say what they are of."""
    try:
        return as_record(StateRecord, read_json(folder.state), folder.state)
    except FileNotFoundError:
        pass
    except DamagedError as error:
        warning(f"{error}. What the checkpoints say is believed instead")
    of = set[str]()
    for manifest in folder.manifests():
        with contextlib.suppress(OSError, DamagedError):
            of.add(str(read_json(manifest)["of"]))
    return StateRecord("failed", 0.0, "", key if key_digest in of else None) if of else None
