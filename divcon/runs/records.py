"""The records of a run: run.json, and each stage's stage.json, state.json and lines of metrics.jsonl."""

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from .. import __version__
from ..config import to_json_value
from ..errors import DamagedError, InputError
from ..files.integrity import write_json
from ..files.text import printable
from .folder import RunFolder
from .json_files import load_record

Rate = NonNegativeFloat | None
GroupSize = Annotated[int, Field(ge=0, le=1_000_000)]
STAGE_NAME = re.compile(r"[a-z_]{1,40}(/[0-9]{1,6})?")
PACKAGES = ("torch", "torchvision", "timm", "numpy", "numba", "pillow", "simplejpeg")
ARITHMETIC = ("device", "precision", "channels_last", "fast_small_maps", "compiled")


def versions() -> dict[str, str]:
    """The versions of what may change a bit of a result."""
    packages = {name: version(name) for name in PACKAGES}
    return {"divcon": __version__, "python": platform.python_version(), **packages}


@dataclass(frozen=True)
class Throughput:
    """The numbers of a stage's summary that `divcon status` shows, as far as the stage has them."""

    images_seen: NonNegativeInt | None = None
    images_per_second: Rate = None
    data_wait: Rate = None
    peak_rss_mb: Rate = None


@dataclass(frozen=True)
class StageRecord:
    """stage.json: what the stage was asked for, what it took, and the hash of each file of its result."""

    key: Any  # JSON: function, version, artifacts by fingerprint, recipe by all its fields
    seconds: NonNegativeFloat
    summary: Throughput
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StateRecord:
    """state.json: running, interrupted or failed, and why."""

    state: str
    seconds: NonNegativeFloat
    why: str
    key: Any = None  # as in StageRecord


@dataclass(frozen=True)
class MetricsLine(Throughput):
    """The fields of a line of metrics.jsonl that `divcon status` reads."""

    step: NonNegativeInt = 0
    steps: PositiveInt = 1
    batch_size: PositiveInt = 1


@dataclass(frozen=True)
class RunRecord:
    """run.json: the options as typed, and each with the value it came out with; the machine; the stages.

    `images` is the fingerprint of the collection, `used` the number of its images, and `data` the absolute paths that named it
    when the run was begun or finished. It may have moved since: `open_run_images` (api/collection.py) compares fingerprints.
    `groups` has the number of stages in a group (`experts`), once it is known; `done` has the SHA-256 of each stage.json,
    once all stages are done.
    """

    typed: dict[str, Any]
    options: dict[str, Any]
    machine: dict[str, Any]
    images: str
    used: int
    stages: list[str]
    final: str
    groups: dict[str, GroupSize] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    data: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """DamagedError for a run.json that divcon did not write, or that names no stages."""
        path = RunFolder(folder).record
        record = load_record(cls, path)
        names = [*record.stages, *record.done, record.final, *record.groups]
        if not all(STAGE_NAME.fullmatch(name) for name in names) or not record.stages:
            raise DamagedError(f"{printable(path)} is damaged: its stages have no names of stages; use another folder")
        return record

    def write(self, folder: Path) -> None:
        write_json(RunFolder(folder).record, to_json_value(self))

    def expected_stages(self) -> list[str]:
        """The names of the stages, in order: as many in a group as there are, or, until that is known, as were planned."""
        planned = [name for name in self.stages if name.split("/")[0] not in self.groups]
        for group, size in self.groups.items():
            at = position_of(self.stages, group)
            before = [name for name in planned if position_of(self.stages, name) < at]
            planned = [*before, *(f"{group}/{i}" for i in range(size)), *planned[len(before) :]]
        return planned

    def with_done(self, folder: Path) -> "RunRecord":
        """The record with the hashes of its stages, if all are done."""
        return replace(self, done=RunFolder(folder).done_hashes(self.expected_stages()))

    def changes(self, new: "RunRecord", among: Sequence[str] = ()) -> list[str]:
        """The options that differ, as they are typed: "clusters.k was 5, is 10"."""
        differ = list[str]()
        for names in (among,) if among else ({**self.typed, **new.typed}, new.options):
            differ = differ or [name for name in names if self.options.get(name) != new.options.get(name)]
        return [f"{name} was {_said(self.options, name)}, is {_said(new.options, name)}" for name in differ]


def _said(options: Mapping[str, Any], name: str) -> str:
    value = options.get(name)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def run_record(folder: Path) -> RunRecord:
    """Return the record of a run; InputError where the folder is not a run. Verbs that take a RUN begin with it."""
    if not RunFolder(folder).is_run:
        raise InputError(f"{printable(folder)} is not a run: there is no run.json in it")
    return RunRecord.read(folder)


def position_of(order: Sequence[str], stage: str) -> int:
    """The position of a stage in an order; the members of a group have the same position."""
    groups = [name.split("/")[0] for name in order]
    return groups.index(stage.split("/")[0]) if stage.split("/")[0] in groups else len(groups)
