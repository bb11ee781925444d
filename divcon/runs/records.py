"""run.json, and what it tells of a run's folder: what was asked for, which stages there are, what is damaged."""

import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import __version__, failpoints
from ..config import list_names, to_json_value
from ..errors import DamagedError, DataError, OwnedError, UsageError, few
from ..files.atomic import remove_folder
from ..files.integrity import hash_difference, mismatches, read_json, read_with_digest, sha256, write_json
from ..files.paths import Data, as_paths, shell_quoted
from ..files.text import printable
from ..log import info
from . import json_files, owner

ARITHMETIC = ("device", "precision", "channels_last", "fast_small_maps", "compiled")
STEP = re.compile(r"step-(\d{8,})")
STAGE = re.compile(r"[a-z_]{1,40}(/[0-9]{1,6})?")
AT_WORK = ("checkpoints", "state.json", "lock", "kept.npy", "kept.json")  # in a stage that is not done
MANIFESTS = ("stage.json", "MANIFEST.json", "kept.json")  # what holds the hashes of the files beside it
COMMON = ("limit", "include", "exclude", "near_duplicates", *ARITHMETIC)  # options that every stage depends on


def versions() -> dict[str, str]:
    """What may change a bit when it changes."""
    packages = ("torch", "torchvision", "timm", "numpy", "numba", "pillow", "simplejpeg")
    return {"divcon": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}


def verify_run(folder: Path) -> list[str]:
    """What differs, anywhere below a run's folder, from the hashes written with it: of the collection's index, of each
    finished stage, and of the checkpoints of the others."""
    wrong = []
    for manifest in sorted(path for name in MANIFESTS for path in folder.rglob(name)):
        here = mismatches(manifest) or misplaced(manifest)
        wrong += here if manifest.exists() else []  # a checkpoint that was removed meanwhile is no damage
    return (
        wrong
        + _exchanged(folder)
        + _damaged("state.json", read_json, folder)
        + _damaged("step-newest", read_with_digest, folder)
    )


def misplaced(manifest: Path, of: str | None = None) -> list[str]:
    """How a checkpoint's own word differs from where it lies: one that was copied, or moved, is whole and wrong."""
    step = STEP.fullmatch(manifest.parent.name)
    if not step:
        return []
    found = read_json(manifest)
    if found.get("step") != int(step[1]):
        return [f"{printable(manifest)}: expected step {int(step[1])}, found step {printable(str(found.get('step')))}"]
    return (
        []
        if of in (None, found.get("of"))
        else [f"{printable(manifest)}: expected {of}, found that of another training"]
    )


def _exchanged(folder: Path) -> list[str]:
    """Stages that are whole, and not those with which the run was finished."""
    if not (folder / "run.json").exists():
        return []
    wrong = []
    for stage, expected in RunRecord.read(folder).done.items():
        path = folder / stage / "stage.json"
        if path.is_file() and (found := sha256(path)) != expected:
            wrong.append(
                f"{printable(path)}: {hash_difference(expected, found)}: the stage is not the one that the run was finished with"
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


def has_leftovers(stage: Path) -> bool:
    """Whether something is left there that only a stage at its work needs."""
    return any((stage / name).exists() for name in AT_WORK)


def verify_stage(run: Path, stage: str) -> None:
    """DamagedError, if a finished stage is not what it was when it was done."""
    wrong = mismatches(run / stage / "stage.json")
    if wrong:
        raise DamagedError(f"{few(wrong, '; ')}. Put back a copy, or type: divcon redo {shell_quoted(run)} {stage}")


@dataclass(frozen=True)
class RunRecord:
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
    def read(cls, folder: Path) -> "RunRecord":
        """DamagedError, if it is not one of ours, or of this version."""
        path = folder / "run.json"
        found = json_files.read_record(cls, path)
        names = [*found["stages"], *found.get("done", {}), found["final"]]
        if not all(STAGE.fullmatch(name) for name in names) or not found["stages"]:
            raise DamagedError(f"{printable(path)} is damaged: its stages have no names of stages; use another folder")
        return cls(**{name: found[name] for name in cls.__dataclass_fields__ if name in found})

    def write(self, folder: Path) -> None:
        write_json(folder / "run.json", to_json_value(self))

    def with_done(self, folder: Path) -> "RunRecord":
        """With the stages that there are now, if all are."""
        files = {name: folder / name / "stage.json" for name in expected_stages(folder, self)}
        all_done = all(file.is_file() for file in files.values())
        return replace(self, done={name: sha256(file) for name, file in files.items()} if all_done else {})

    def changes(self, new: "RunRecord", among: Sequence[str] = ()) -> list[str]:
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
                f"{printable(run / stage)} leads out of the run, by a link; remove the link, or use another folder"
            )


def refuse_foreign_folder(folder: Path, data: Data) -> None:
    """Refuse a folder that holds something else than a run, or lies among the images."""
    for pile in as_paths(data):
        if folder.resolve().is_relative_to(pile.resolve()):
            raise UsageError(
                f"out={printable(folder)} lies inside the collection; name a folder outside {printable(pile)}"
            )
    if folder.exists() and not folder.is_dir():
        raise OwnedError(f"out={printable(folder)} is a file; name a folder that is not there yet")
    passing = re.compile(rf".*\.part|{owner.NAME}(\..*)?")
    foreign = folder.is_dir() and any(not passing.fullmatch(path.name) for path in folder.iterdir())
    if foreign and not (folder / "run.json").exists():
        raise OwnedError(
            f"out={printable(folder)} holds something else than a run; name another folder, or one not there yet"
        )


def check_common(before: RunRecord, now: RunRecord, folder: Path) -> None:
    """Refuse to go on with other images, or another kind of arithmetic, than the run's finished stages saw."""
    changed = [change for name in COMMON for change in before.changes(now, [name])]
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


def forget_stages(folder: Path, name: str) -> list[str]:
    """Remove a stage and what follows from it; the names of what was removed. Its siblings stay."""
    record, name = RunRecord.read(folder), name.rstrip("/")
    known = sorted(
        {*record.stages, *begun_stages(folder)},
        key=lambda stage: (position_of(record.stages, stage), len(stage), stage),
    )
    group = [stage for stage in known if stage == name or stage.startswith(f"{name}/")]
    if not group:
        raise UsageError(f"{printable(folder)} has no stage {name!r}; it has {list_names(known)}")
    after = position_of(record.stages, group[0])
    gone = group + [stage for stage in known if position_of(record.stages, stage) > after]
    holders = [holder for stage in gone if (holder := owner.holder_of(folder / stage))]
    if holders:
        raise OwnedError(
            f"{printable(folder)} is in use by process {holders[0].get('pid')} on {holders[0].get('host')}; wait for it"
        )
    refuse_links(folder, gone)
    with owner.owned_briefly(folder):
        replace(RunRecord.read(folder), done={}).write(folder)
    removed = [stage for stage in gone if (folder / stage).exists()]
    for stage in reversed(removed):
        remove_folder(folder / stage, "stage.json")
        failpoints.at("redo.removing")
    info(f"removed {few(removed) or 'nothing'}")
    return removed


def position_of(order: Sequence[str], stage: str) -> int:
    """Where a stage comes; the members of a group come at the same place."""
    groups = [name.split("/")[0] for name in order]
    return groups.index(stage.split("/")[0]) if stage.split("/")[0] in groups else len(groups)


def expected_stages(folder: Path, record: RunRecord) -> list[str]:
    """The stages of the run, in order: as many experts as there are clusters, once that is known."""
    divided = folder / "clusters" / "stage.json"
    if not divided.exists() or "experts/0" not in record.stages:
        return record.stages
    try:
        k = json_files.read_record(json_files.StageRecord, divided)["notes"].get("k", 0)
    except DamagedError:  # said by whoever needs more of it than this number
        return record.stages
    experts = [f"experts/{i}" for i in range(k)]
    before = record.stages.index("experts/0")
    return [
        *record.stages[:before],
        *experts,
        *(name for name in record.stages[before:] if not name.startswith("experts/")),
    ]


def has_progress(folder: Path) -> bool:
    """Whether other options would cost something: a finished stage, a checkpoint, or a process at its work."""
    saved = (*folder.rglob("stage.json"), *folder.rglob("checkpoints/step-*"))
    return bool(saved) or any(owner.holder_of(folder / name) for name in begun_stages(folder))


def begun_stages(folder: Path) -> list[str]:
    marks = [*folder.rglob("stage.json"), *folder.rglob("state.json")]
    return sorted({str(mark.parent.relative_to(folder)) for mark in marks})
