"""A run: a folder of named stages, each done once. A stage is a plain function whose result is kept.

run.json        what was asked for, and on what machine (divcon/runs/records.py)
base/           a folder a stage:
  state.json      while it runs: running, interrupted or failed, and how long it has taken
  ...             checkpoints, metrics, and in the end the result's own files
  stage.json      written last = done: its key, seconds, versions, and the hash of every file of the result
  lock            while a process owns it
"""

import contextlib
import functools
import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from .. import failpoints
from ..config import differences, to_json_value
from ..errors import DamagedError, Error, OwnedError, StoppedError, UsageError, WaitingError, few
from ..files.atomic import fsync, remove_path
from ..files.integrity import digest, read_json, sha256, write_json
from ..files.paths import shell_quoted
from ..files.text import printable
from ..log import info, warning
from ..machine import Machine
from ..signals import stop_if_requested
from . import json_files, owner
from .artifact import Artifact
from .records import AT_WORK, has_leftovers, refuse_links, verify_stage, versions

P = ParamSpec("P")
A = TypeVar("A", bound=Artifact)

PASSING = {*AT_WORK, "stage.json"}  # not part of a stage's result


@dataclass
class StageContext:
    """What a stage is given to work with: its folder, the machine, the cache; and where it notes what it did."""

    folder: Path
    name: str
    machine: Machine
    cache: Path
    cache_gb: float = 8.0
    save_every: float = 30.0  # seconds between checkpoints, at the most
    allow_collapse: bool = False  # train on what sees the same in all images
    notes: dict[str, Any] = field(default_factory=dict)  # kept in stage.json
    key: Any = None  # what the stage was asked for
    before: float = 0.0  # seconds spent on this stage by earlier, interrupted processes
    begun: float = field(default_factory=time.monotonic)
    mine: Callable[[], None] = lambda: None  # OwnedError if the folder was taken over: called before anything is kept

    @property
    def asked(self) -> str:
        """A digest of what the stage was asked for: kept with each checkpoint."""
        return digest(json.dumps(self.key, sort_keys=True))

    def seconds(self) -> float:
        """Spent on this stage, by all processes that worked on it."""
        return self.before + time.monotonic() - self.begun

    def write_state(self, state: str, why: str = "") -> None:
        """Keep state.json true; called with every checkpoint, so that a kill loses no account of the time before it."""
        self.mine()
        seconds = round(self.seconds(), 3)
        write_json(
            self.folder / "state.json",
            {"state": state, "why": why, "key": self.key, "seconds": seconds, **owner.this_process()},
        )


class Run:
    """`only` names the one stage, or group of stages, to do here; `taken` stages come from other runs."""

    def __init__(
        self,
        folder: Path,
        machine: Machine,
        cache: Path,
        *,
        cache_gb: float = 8.0,
        save_every: float = 30.0,
        only: str | None = None,
        taken: Mapping[str, Path] | None = None,
        steal_lock: bool = False,
        allow_collapse: bool = False,
        changes: str = "",
    ):
        self.folder, self.machine, self.cache, self.cache_gb, self.save_every = (
            folder,
            machine,
            cache,
            cache_gb,
            save_every,
        )
        self.only, self.taken, self.steal_lock = only, dict(taken or {}), steal_lock
        self.allow_collapse = allow_collapse
        self.changes = changes  # options that differ from what the run was begun with, in words
        self.did: list[str] = []
        self.intact: set[str] = set()  # stages whose files were found as they were written
        self.reached_only = False

    def stage(self, name: str, do: Callable[Concatenate[StageContext, P], A], *args: P.args, **kwargs: P.kwargs) -> A:
        """Do the stage, or read back what it made before if it was asked for in just this way."""
        kind: type[A] = inspect.signature(do, eval_str=True).return_annotation
        key = {
            "do": do.__name__,
            "version": getattr(do, "version", 1),
            "args": to_json_value([*args, *kwargs.values()]),
        }
        if name in self.taken:
            key = {"taken": kind.load(self.taken[name]).fingerprint}
        mine = self.only is None or name == self.only or name.startswith(f"{self.only}/")
        if (self.folder / name / "stage.json").exists():
            self._refuse_changes(name, key)
            self._refuse_damage(name)
            _tidy_left(self.folder / name)
        elif not mine:
            raise WaitingError(
                f"stage {name} is not done yet; type the same command without --only, or with --only {name}"
            )
        else:
            self._do(name, key, lambda context: self._make(context, kind, do, *args, **kwargs))
        self.reached_only |= self.only is not None and mine
        return kind.load(self.folder / name)

    def stages(self, name: str, do: Callable[..., A], each: Sequence[tuple[Any, ...]]) -> list[A]:
        """The stages name/0, name/1, ...: independent of one another, so other processes may do some of them."""
        for i, args in enumerate(each):
            if (self.folder / f"{name}/{i}" / "stage.json").exists():
                self.stage(f"{name}/{i}", do, *args)  # a change is refused before any is done differently
        results, waiting = [], []
        for i, args in enumerate(each):
            try:
                results.append(self.stage(f"{name}/{i}", do, *args))
            except (WaitingError, OwnedError) as error:
                if isinstance(error, OwnedError) and self.only == f"{name}/{i}":
                    raise
                waiting.append(error)
        if waiting:
            raise waiting[0]
        return results

    def _make(
        self,
        context: StageContext,
        kind: type[A],
        do: Callable[Concatenate[StageContext, P], A],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        if context.name in self.taken:
            source = self.taken[context.name]
            kind.load(source).save(context.folder)
            context.notes["taken_from"] = printable(source)
        else:
            with self.machine.use():
                made = do(context, *args, **kwargs)
                failpoints.at("stage.made")
                context.mine()
                made.save(context.folder)

    def _do(self, name: str, key: Any, make: Callable[[StageContext], None]) -> None:
        """Own the folder, do the work, and write stage.json last."""
        stop_if_requested("nothing was begun")
        refuse_links(self.folder, [name])
        folder = self.folder / name
        with owner.owned(folder, steal=self.steal_lock):
            if (folder / "stage.json").exists():  # another process was quicker
                self._refuse_changes(name, key)
                return
            context = StageContext(
                folder, name, self.machine, self.cache, self.cache_gb, self.save_every, self.allow_collapse, key=key
            )
            context.mine = functools.partial(owner.check, folder)
            context.before = self._start_or_resume(context)
            with _state(context):
                failpoints.at("stage.begun")
                make(context)
                failpoints.at("stage.saved")
            context.mine()
            write_json(folder / "stage.json", _done(context))
            failpoints.at("stage.done")
            _tidy(folder)
            failpoints.at("stage.tidied")
        self.intact.add(name)
        self.did.append(name)
        info(f"{name}: done in {context.seconds():,.0f} s{_account(context.notes)}")

    def _start_or_resume(self, context: StageContext) -> float:
        """Seconds already spent on this very stage. One that got far enough to be saved can't be asked for differently;
        what else was left is cleared away."""
        folder = context.folder
        _clear_half_written(folder)
        state = _state_left(context)
        if state and state["key"] == context.key:
            return float(state["seconds"])
        if state and any((folder / "checkpoints").glob("step-*")):
            self._refuse(context.name, "begun", state["key"], context.key)
        for path in folder.iterdir():
            if path.name != "lock":
                failpoints.at("stage.clearing")
                remove_path(path)
        return 0.0

    def _refuse_changes(self, name: str, key: Any) -> None:
        """A finished stage can't be asked for differently."""
        before = json_files.read_record(json_files.StageRecord, self.folder / name / "stage.json")["key"]
        if before != key:
            self._refuse(name, "done", before, key)

    def _refuse_damage(self, name: str) -> None:
        """What a finished stage made is looked at once, before anything is built on it."""
        if name not in self.intact:
            verify_stage(self.folder, name)
            self.intact.add(name)

    def _refuse(self, name: str, state: str, before: Any, key: Any) -> None:
        differ = differences(before, key) if before else [("what its checkpoints are of", "another", "this")]
        what = self.changes or few((f"{where} was {old!r}, is {new!r}" for where, old, new in differ), "; ")
        raise UsageError(
            f"stage {name} in {printable(self.folder)} was {state} with other options: {what}. "
            f"Use another folder (out=...), or type: divcon redo {shell_quoted(self.folder)} {name}"
        )


def _clear_half_written(folder: Path) -> None:
    """Remove what a killed process was about to write. Only the folder's owner may call it."""
    owner.clear(folder)
    for path in folder.glob("*.part"):
        remove_path(path)


def _state_left(context: StageContext) -> dict[str, Any]:
    """What an earlier attempt says of itself. Where its word can't be read, its checkpoints say what they are of."""
    try:
        state: dict[str, Any] = read_json(context.folder / "state.json")
        return state
    except FileNotFoundError:
        pass
    except DamagedError as error:
        warning(f"{error}. What the checkpoints say is believed instead")
    of = set[str]()
    for manifest in context.folder.glob("checkpoints/step-*/MANIFEST.json"):
        with contextlib.suppress(OSError, DamagedError):
            of.add(str(read_json(manifest)["of"]))
    return {"key": context.key if context.asked in of else None, "seconds": 0.0} if of else {}


def _tidy(folder: Path) -> None:
    """Remove what only a stage at its work needs."""
    for passing in ("checkpoints", "state.json", "kept.npy", "kept.json"):
        with contextlib.suppress(OSError):  # of a stage that is done, no one needs it
            remove_path(folder / passing)


def _tidy_left(folder: Path) -> None:
    """Do so for a process that was killed once its stage was done."""
    if has_leftovers(folder):
        with contextlib.suppress(OwnedError), owner.owned(folder):  # or its owner is about to
            _tidy(folder)
            _clear_half_written(folder)


@contextlib.contextmanager
def _state(context: StageContext) -> Iterator[None]:
    """Keep state.json true: running, and if it ends early, why."""
    context.write_state("running")
    try:
        yield
    except BaseException as error:
        if isinstance(error, OSError | Error):
            context.mine()  # who has taken the folder over clears away what was being written
        with contextlib.suppress(Error):
            stopped = isinstance(error, StoppedError | KeyboardInterrupt)
            context.write_state("interrupted" if stopped else "failed", f"{type(error).__name__}: {error}")
        raise


def _account(notes: dict[str, Any]) -> str:
    """How a training went, in words; nothing for other stages."""
    if any(notes.get(name) is None for name in ("images_per_second", "data_wait", "loss")):
        return ""
    return (
        f": {notes['images_seen']:,} images, {notes['images_per_second']:,.0f} a second, "
        f"{notes['data_wait']:.1%} of the time waiting for them; loss {notes['loss']:.3f}"
    )


def _done(context: StageContext) -> dict[str, Any]:
    files = sorted(path for path in context.folder.rglob("*") if path.is_file())
    result = [path for path in files if path.relative_to(context.folder).parts[0] not in PASSING]
    for path in result:
        fsync(path)
    hashes = {str(path.relative_to(context.folder)): sha256(path) for path in result}
    seconds = round(context.seconds(), 3)
    return {"key": context.key, "seconds": seconds, "notes": context.notes, "versions": versions(), "sha256": hashes}
