"""A run: a folder of named stages, each done once. A stage is a plain function whose result is kept.

run.json        what was asked for, and on what machine
base/           a folder a stage:
  state.json      while it runs: running, interrupted or failed, and how long it has taken
  ...             checkpoints, metrics, and in the end the result's own files
  stage.json      written last = done: its key, seconds, versions, and the hash of every file of the result
  lock            while a process owns it
"""

import contextlib
import inspect
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from . import __version__, locks
from .artifacts import Artifact, read_json, sha256, show, write_json
from .config import described, differences
from .errors import DataError, Error, OwnedError, StoppedError, UsageError, WaitingError
from .log import say
from .machine import Machine
from .signals import stop_here

P = ParamSpec("P")
A = TypeVar("A", bound=Artifact)

COMMON = ("limit", "include", "exclude", "device", "precision")  # options that every stage depends on
PASSING = {"checkpoints", "state.json", "metrics.jsonl", "lock", "stage.json"}  # not part of a stage's result


@dataclass
class Work:
    """What a stage is given to work with: its folder, the machine, the cache; and where it notes what it did."""

    folder: Path
    name: str
    machine: Machine
    cache: Path
    cache_gb: float = 8.0
    save_every: float = 30.0  # seconds between checkpoints, at the most
    notes: dict[str, Any] = field(default_factory=dict)  # kept in stage.json
    key: Any = None  # what the stage was asked for
    before: float = 0.0  # seconds spent on this stage by earlier, interrupted processes
    begun: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Spent on this stage, by all processes that worked on it."""
        return self.before + time.monotonic() - self.begun

    def write_state(self, state: str, why: str = "") -> None:
        """Keep state.json true; called with every checkpoint, so that a kill loses no account of the time before it."""
        seconds = round(self.seconds(), 3)
        write_json(
            self.folder / "state.json", {"state": state, "why": why, "key": self.key, "seconds": seconds, **locks.me()}
        )


class Run:
    """`only` names the one stage, or group of stages, to do here; `taken` stages come from other runs."""

    def __init__(
        self, folder: Path, machine: Machine, cache: Path, *,
        cache_gb: float = 8.0, save_every: float = 30.0, only: str | None = None, taken: Mapping[str, Path] | None = None,
        steal_lock: bool = False, changes: str = "",
    ):  # fmt: skip
        self.folder, self.machine, self.cache, self.cache_gb, self.save_every = (
            folder,
            machine,
            cache,
            cache_gb,
            save_every,
        )
        self.only, self.taken, self.steal_lock = only, dict(taken or {}), steal_lock
        self.changes = changes  # options that differ from what the run was begun with, in words
        self.did: list[str] = []
        self.reached_only = False

    def stage(self, name: str, do: Callable[Concatenate[Work, P], A], *args: P.args, **kwargs: P.kwargs) -> A:
        """Do the stage, or read back what it made before if it was asked for in just this way."""
        kind: type[A] = inspect.signature(do, eval_str=True).return_annotation
        key = {"do": do.__name__, "version": getattr(do, "version", 1), "args": described([*args, *kwargs.values()])}
        if name in self.taken:
            key = {"taken": kind.load(self.taken[name]).fingerprint}
        mine = self.only is None or name == self.only or name.startswith(f"{self.only}/")
        if (self.folder / name / "stage.json").exists():
            self._refuse_changes(name, key)
        elif not mine:
            raise WaitingError(
                f"stage {name} is not done yet; type the same command without --only, or with --only {name}"
            )
        else:
            self._do(name, key, lambda work: self._make(work, kind, do, *args, **kwargs))
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
        self, work: Work, kind: type[A], do: Callable[Concatenate[Work, P], A], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        if work.name in self.taken:
            source = self.taken[work.name]
            kind.load(source).save(work.folder)
            work.notes["taken_from"] = show(source)
        else:
            with self.machine.use():
                do(work, *args, **kwargs).save(work.folder)

    def _do(self, name: str, key: Any, make: Callable[[Work], None]) -> None:
        """Own the folder, do the work, and write stage.json last."""
        stop_here("nothing was begun")
        folder = self.folder / name
        with locks.owned(folder, steal=self.steal_lock):
            if (folder / "stage.json").exists():  # another process was quicker
                self._refuse_changes(name, key)
                return
            work = Work(folder, name, self.machine, self.cache, self.cache_gb, self.save_every, key=key)
            work.before = _start_or_resume(folder, key)
            with _state(work):
                make(work)
            write_json(folder / "stage.json", _done(work))
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            (folder / "state.json").unlink(missing_ok=True)
        self.did.append(name)

    def _refuse_changes(self, name: str, key: Any) -> None:
        """A finished stage can't be asked for differently."""
        before = read_json(self.folder / name / "stage.json")["key"]
        if before == key:
            return
        what = self.changes or "; ".join(
            f"{where} was {old!r}, is {new!r}" for where, old, new in differences(before, key)
        )
        raise UsageError(
            f"stage {name} in {show(self.folder)} was done with other options: {what}. "
            f"Use another folder (out=...), or type: divcon redo {show(self.folder)} {name}"
        )


def _start_or_resume(folder: Path, key: Any) -> float:
    """Seconds already spent on this very stage; what was left of another one is cleared away."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        state = read_json(folder / "state.json")
        if state["key"] == key:
            _clear_half_written(folder)
            return float(state["seconds"])
    for path in folder.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return 0.0


def _clear_half_written(folder: Path) -> None:
    """Remove what a killed process was about to write. Only the folder's owner may call it."""
    for path in (*folder.glob("*.part"), *folder.glob(f"{locks.NAME}.*")):
        path.unlink()


@contextlib.contextmanager
def _state(work: Work) -> Iterator[None]:
    """Keep state.json true: running, and if it ends early, why."""
    work.write_state("running")
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(Error):
            stopped = isinstance(error, StoppedError | KeyboardInterrupt)
            work.write_state("interrupted" if stopped else "failed", f"{type(error).__name__}: {error}")
        raise


def _done(work: Work) -> dict[str, Any]:
    files = sorted(path for path in work.folder.rglob("*") if path.is_file())
    result = [path for path in files if path.relative_to(work.folder).parts[0] not in PASSING]
    hashes = {str(path.relative_to(work.folder)): sha256(path) for path in result}
    seconds = round(work.seconds(), 3)
    return {"key": work.key, "seconds": seconds, "notes": work.notes, "versions": versions(), "sha256": hashes}


def versions() -> dict[str, str]:
    """What may change a bit when it changes."""
    packages = ("torch", "torchvision", "timm", "numpy", "numba", "pillow", "simplejpeg")
    return {"divcon": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}


def verify(folder: Path) -> list[str]:
    """What differs, in any finished stage below the folder, from the hashes written when it was done."""
    wrong = []
    for stage in sorted(folder.rglob("stage.json")):
        for name, expected in read_json(stage)["sha256"].items():
            path = stage.parent / name
            found = sha256(path) if path.is_file() else "no file"
            if found != expected:
                wrong.append(f"{show(path)}: expected sha256 {expected[:12]}, found {found[:12]}")
    return wrong


@dataclass(frozen=True)
class Book:
    """run.json: what was asked for (as typed, and every option as it came out), on what machine, of which images."""

    typed: dict[str, Any]
    options: dict[str, Any]
    machine: dict[str, Any]
    images: str
    used: int
    stages: list[str]
    final: str
    versions: dict[str, str] = field(default_factory=versions)

    @classmethod
    def read(cls, folder: Path) -> "Book":
        return cls(**read_json(folder / "run.json"))

    def write(self, folder: Path) -> None:
        write_json(folder / "run.json", described(self))

    def changes(self, new: "Book", among: Sequence[str] = ()) -> list[str]:
        """Options that came out differently, as they are typed: "clusters.k was 5, is 10"."""
        differ = list[str]()
        for names in (among,) if among else ({**self.typed, **new.typed}, new.options):
            differ = differ or [name for name in names if self.options.get(name) != new.options.get(name)]
        return [f"{name} was {self._said(name)}, is {new._said(name)}" for name in differ]

    def _said(self, name: str) -> str:
        value = self.options.get(name)
        return f"{value:g}" if isinstance(value, float) else str(value)


def check_folder(folder: Path, data: Path) -> None:
    """Refuse a folder that holds something else than a run, or lies among the images."""
    if folder.absolute().is_relative_to(data.absolute()):
        raise UsageError(f"out={show(folder)} lies inside the collection; name a folder outside {show(data)}")
    if folder.exists() and not folder.is_dir():
        raise OwnedError(f"out={show(folder)} is a file; name a folder that is not there yet")
    foreign = folder.is_dir() and any(path.suffix != ".part" for path in folder.iterdir())
    if foreign and not (folder / "run.json").exists():
        raise OwnedError(
            f"out={show(folder)} holds something else than a run; name another folder, or one not there yet"
        )


def check_common(before: Book, now: Book, folder: Path) -> None:
    """Refuse to go on with other images, or another kind of arithmetic, than the run's finished stages saw."""
    changed = [change for name in COMMON for change in before.changes(now, [name])]
    if changed:
        raise UsageError(
            f"stage {before.stages[0]} in {show(folder)} was done with other options: {'; '.join(changed)}. "
            f"Use another folder (out=...), or type: divcon redo {show(folder)} {before.stages[0]}"
        )
    if before.images != now.images:
        raise DataError(
            f"the images changed since {show(folder)} was begun: {before.used:,} were used, {now.used:,} are there now. "
            "Bring the old ones back, or use another folder (out=...)"
        )


def forget(folder: Path, name: str) -> list[str]:
    """Remove a stage and what follows from it; the names of what was removed. Its siblings stay."""
    book = Book.read(folder)
    known = sorted(
        {*book.stages, *done_or_begun(folder)}, key=lambda stage: (place(book.stages, stage), len(stage), stage)
    )
    group = [stage for stage in known if stage == name or stage.startswith(f"{name}/")]
    if not group:
        raise UsageError(f"{show(folder)} has no stage {name!r}; it has {', '.join(known)}")
    after = place(book.stages, group[0])
    gone = group + [stage for stage in known if place(book.stages, stage) > after]
    holders = [holder for stage in gone if (holder := locks.holder_of(folder / stage))]
    if holders:
        raise OwnedError(
            f"{show(folder)} is in use by process {holders[0]['pid']} on {holders[0]['host']}; wait for it"
        )
    removed = [stage for stage in gone if (folder / stage).exists()]
    for stage in reversed(removed):
        shutil.rmtree(folder / stage)
    say(f"removed {', '.join(removed) or 'nothing'}")
    return removed


def place(order: Sequence[str], stage: str) -> int:
    """Where a stage comes; the members of a group come at the same place."""
    groups = [name.split("/")[0] for name in order]
    return groups.index(stage.split("/")[0]) if stage.split("/")[0] in groups else len(groups)


def expected(folder: Path, book: Book) -> list[str]:
    """The stages of the run, in order: as many experts as there are clusters, once that is known."""
    divided = folder / "clusters" / "stage.json"
    if not divided.exists() or "experts/0" not in book.stages:
        return book.stages
    experts = [f"experts/{i}" for i in range(read_json(divided)["notes"].get("k", 0))]
    before = book.stages.index("experts/0")
    return [
        *book.stages[:before],
        *experts,
        *(name for name in book.stages[before:] if not name.startswith("experts/")),
    ]


def done_or_begun(folder: Path) -> list[str]:
    marks = [*folder.rglob("stage.json"), *folder.rglob("state.json")]
    return sorted({str(mark.parent.relative_to(folder)) for mark in marks})
