"""run.json, and what it tells of a run's folder: what was asked for, which stages there are, what is damaged."""

import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import __version__, faults, locks, records
from .artifacts import damage, differs, read_ended, read_json, remove, sha256, show, write_json
from .config import described, enumerated
from .errors import DamagedError, DataError, OwnedError, UsageError, few
from .log import say
from .paths import Data, listed, typable

ARITHMETIC = ("device", "precision", "layout", "shortcuts", "compiled")
STEP = re.compile(r"step-(\d{8,})")
STAGE = re.compile(r"[a-z_]{1,40}(/[0-9]{1,6})?")
AT_WORK = ("checkpoints", "state.json", "lock", "kept.npy", "kept.json")  # in a stage that is not done
MANIFESTS = ("stage.json", "MANIFEST.json", "kept.json")  # what holds the hashes of the files beside it
COMMON = ("limit", "include", "exclude", "near_duplicates", *ARITHMETIC)  # options that every stage depends on


def versions() -> dict[str, str]:
    """What may change a bit when it changes."""
    packages = ("torch", "torchvision", "timm", "numpy", "numba", "pillow", "simplejpeg")
    return {"divcon": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}


def verify(folder: Path) -> list[str]:
    """What differs, anywhere below a run's folder, from the hashes written with it: of the collection's index, of each
    finished stage, and of the checkpoints of the others."""
    wrong = []
    for manifest in sorted(path for name in MANIFESTS for path in folder.rglob(name)):
        here = damage(manifest) or misplaced(manifest)
        wrong += here if manifest.exists() else []  # a checkpoint that was removed meanwhile is no damage
    return (
        wrong
        + _exchanged(folder)
        + _damaged("state.json", read_json, folder)
        + _damaged("step-newest", read_ended, folder)
    )


def misplaced(manifest: Path, of: str | None = None) -> list[str]:
    """How a checkpoint's own word differs from where it lies: one that was copied, or moved, is whole and wrong."""
    step = STEP.fullmatch(manifest.parent.name)
    if not step:
        return []
    found = read_json(manifest)
    if found.get("step") != int(step[1]):
        return [f"{show(manifest)}: expected step {int(step[1])}, found step {show(str(found.get('step')))}"]
    return [] if of in (None, found.get("of")) else [f"{show(manifest)}: expected {of}, found that of another training"]


def _exchanged(folder: Path) -> list[str]:
    """Stages that are whole, and not those with which the run was finished."""
    if not (folder / "run.json").exists():
        return []
    wrong = []
    for stage, expected in Book.read(folder).done.items():
        path = folder / stage / "stage.json"
        if path.is_file() and (found := sha256(path)) != expected:
            wrong.append(
                f"{show(path)}: {differs(expected, found)}: the stage is not the one that the run was finished with"
            )
    return wrong


def _damaged(name: str, read: Callable[[Path], Any], folder: Path) -> list[str]:
    """Files of the name that carry their own hash, and do not fit it."""
    wrong = []
    for path in sorted(folder.rglob(name)):
        try:
            read(path)
        except DamagedError as error:
            wrong.append(str(error))
        except FileNotFoundError:
            pass
    return wrong


def untidy(stage: Path) -> bool:
    """Whether something is left there that only a stage at its work needs."""
    return any((stage / name).exists() for name in AT_WORK)


def check_intact(run: Path, stage: str) -> None:
    """DamagedError, if a finished stage is not what it was when it was done."""
    wrong = damage(run / stage / "stage.json")
    if wrong:
        raise DamagedError(f"{few(wrong, '; ')}. Put back a copy, or type: divcon redo {typable(run)} {stage}")


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
    done: dict[str, str] = field(default_factory=dict)  # the SHA-256 of each stage.json, once all are there
    versions: dict[str, str] = field(default_factory=versions)

    @classmethod
    def read(cls, folder: Path) -> "Book":
        """DamagedError, if it is not one of ours, or of this version."""
        path = folder / "run.json"
        found = records.read(cls, path)
        names = [*found["stages"], *found.get("done", {}), found["final"]]
        if not all(STAGE.fullmatch(name) for name in names) or not found["stages"]:
            raise DamagedError(f"{show(path)} is damaged: its stages have no names of stages; use another folder")
        return cls(**{name: found[name] for name in cls.__dataclass_fields__ if name in found})

    def write(self, folder: Path) -> None:
        write_json(folder / "run.json", described(self))

    def with_done(self, folder: Path) -> "Book":
        """With the stages that there are now, if all are."""
        files = {name: folder / name / "stage.json" for name in expected(folder, self)}
        all_done = all(file.is_file() for file in files.values())
        return replace(self, done={name: sha256(file) for name, file in files.items()} if all_done else {})

    def changes(self, new: "Book", among: Sequence[str] = ()) -> list[str]:
        """Options that came out differently, as they are typed: "clusters.k was 5, is 10"."""
        differ = list[str]()
        for names in (among,) if among else ({**self.typed, **new.typed}, new.options):
            differ = differ or [name for name in names if self.options.get(name) != new.options.get(name)]
        return [f"{name} was {self._said(name)}, is {new._said(name)}" for name in differ]

    def _said(self, name: str) -> str:
        value = self.options.get(name)
        return f"{value:g}" if isinstance(value, float) else str(value)


def refuse_links(run: Path, stages: Sequence[str]) -> None:
    """Nothing is written or removed where a link leads out of the run."""
    for stage in stages:
        if not (run / stage).resolve().is_relative_to(run.resolve()):
            raise OwnedError(
                f"{show(run / stage)} leads out of the run, by a link; remove the link, or use another folder"
            )


def check_folder(folder: Path, data: Data) -> None:
    """Refuse a folder that holds something else than a run, or lies among the images."""
    for pile in listed(data):
        if folder.resolve().is_relative_to(pile.resolve()):
            raise UsageError(f"out={show(folder)} lies inside the collection; name a folder outside {show(pile)}")
    if folder.exists() and not folder.is_dir():
        raise OwnedError(f"out={show(folder)} is a file; name a folder that is not there yet")
    passing = re.compile(rf".*\.part|{locks.NAME}(\..*)?")
    foreign = folder.is_dir() and any(not passing.fullmatch(path.name) for path in folder.iterdir())
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
            f"Use another folder (out=...), or type: divcon redo {typable(folder)} {before.stages[0]}"
        )
    if before.images != now.images:
        raise DataError(
            f"the images changed since {show(folder)} was begun: {before.used:,} were used, {now.used:,} are there now. "
            "Bring the old ones back, or use another folder (out=...)"
        )


def forget(folder: Path, name: str) -> list[str]:
    """Remove a stage and what follows from it; the names of what was removed. Its siblings stay."""
    book, name = Book.read(folder), name.rstrip("/")
    known = sorted(
        {*book.stages, *done_or_begun(folder)}, key=lambda stage: (place(book.stages, stage), len(stage), stage)
    )
    group = [stage for stage in known if stage == name or stage.startswith(f"{name}/")]
    if not group:
        raise UsageError(f"{show(folder)} has no stage {name!r}; it has {enumerated(known)}")
    after = place(book.stages, group[0])
    gone = group + [stage for stage in known if place(book.stages, stage) > after]
    holders = [holder for stage in gone if (holder := locks.holder_of(folder / stage))]
    if holders:
        raise OwnedError(
            f"{show(folder)} is in use by process {holders[0].get('pid')} on {holders[0].get('host')}; wait for it"
        )
    refuse_links(folder, gone)
    with locks.shortly(folder):
        replace(Book.read(folder), done={}).write(folder)
    removed = [stage for stage in gone if (folder / stage).exists()]
    for stage in reversed(removed):
        remove(folder / stage, "stage.json")
        faults.at("redo.removing")
    say(f"removed {few(removed) or 'nothing'}")
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
    try:
        k = records.read(records.Done, divided)["notes"].get("k", 0)
    except DamagedError:  # said by whoever needs more of it than this number
        return book.stages
    experts = [f"experts/{i}" for i in range(k)]
    before = book.stages.index("experts/0")
    return [
        *book.stages[:before],
        *experts,
        *(name for name in book.stages[before:] if not name.startswith("experts/")),
    ]


def committed(folder: Path) -> bool:
    """Whether other options would cost something: a finished stage, a checkpoint, or a process at its work."""
    saved = (*folder.rglob("stage.json"), *folder.rglob("checkpoints/step-*"))
    return bool(saved) or any(locks.holder_of(folder / name) for name in done_or_begun(folder))


def done_or_begun(folder: Path) -> list[str]:
    marks = [*folder.rglob("stage.json"), *folder.rglob("state.json")]
    return sorted({str(mark.parent.relative_to(folder)) for mark in marks})
