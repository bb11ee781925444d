"""Everything a report reads in the folder of a run: its record, its stages, its index and its clusters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat

from ..clustering.clusters import Clusters
from ..data.index.index import Index
from ..errors import DamagedError
from ..files.integrity import sha256
from ..runs.evals import KeptScores, kept_scores
from ..runs.folder import CLUSTERS, INDEX, RunFolder, StageFolder
from ..runs.json_files import load_record
from ..runs.metrics_file import read_lines
from ..runs.records import RunRecord, StateRecord, run_record
from ..runs.state import begun_state


@dataclass(frozen=True)
class FullStageRecord:
    """The fields of stage.json that a report shows."""

    key: Any
    seconds: NonNegativeFloat
    summary: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StageFacts:
    """A stage: done, running, interrupted, failed or waiting, and why; its seconds, its summary, the lines of its metrics."""

    name: str
    state: str
    why: str = ""
    seconds: float = 0.0
    summary: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    digest: str = ""

    @property
    def is_done(self) -> bool:
        return self.state == "done"

    @property
    def group(self) -> str:
        return self.name.split("/")[0]

    def number(self, name: str) -> float | None:
        """A number of the summary, if it has it."""
        value = self.summary.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class RunFacts:
    """A run, read from its folder. `damage` has a message for each part that can't be read."""

    folder: Path
    record: RunRecord
    stages: list[StageFacts]
    damage: list[str]

    @property
    def is_done(self) -> bool:
        return all(stage.is_done for stage in self.stages)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    def group(self, name: str) -> list[StageFacts]:
        return [stage for stage in self.stages if stage.group == name]

    @property
    def trainings(self) -> list[StageFacts]:
        """The stages that trained a network, or began to."""
        return [stage for stage in self.stages if stage.lines]

    @cached_property
    def index(self) -> Index | None:
        """The index of the collection; None if it is not there, or damaged."""
        folder = RunFolder(self.folder).images
        if not (folder / INDEX).is_file():
            return None
        try:
            return Index.load(folder)
        except DamagedError as error:
            self.damage.append(str(error))
            return None

    @cached_property
    def scores(self) -> list[KeptScores]:
        """The scores of `divcon eval` that the run keeps; those that are damaged are named once."""
        return kept_scores(self.folder)

    @property
    def division(self) -> str:
        """The stage whose clusters are shown; empty if no finished stage has clusters."""
        names = [
            stage.name for stage in self.stages if stage.is_done and (self.folder / stage.name / CLUSTERS).is_file()
        ]
        return names[0] if names else ""

    @cached_property
    def clusters(self) -> Clusters | None:
        """The clusters of the collection; None if there are none, or they are damaged or of another collection."""
        if not self.division:
            return None
        try:
            clusters = Clusters.load(self.folder / self.division)
        except DamagedError as error:
            self.damage.append(str(error))
            return None
        return clusters if len(clusters.labels) == self.record.used else None

    @property
    def state_digest(self) -> str:
        """A text that changes with each stage that is done, or done again."""
        return " ".join(f"{stage.name}:{stage.digest[:12]}" for stage in self.stages if stage.is_done)


def read_run(folder: Path) -> RunFacts:
    """Return what the folder of a run says. InputError if it is not a run, DamagedError if run.json can't be read."""
    record, damage = run_record(folder), list[str]()
    stages = [_read_stage(RunFolder(folder).stage(name), name, damage) for name in record.expected_stages()]
    return RunFacts(folder, record, stages, damage)


def _read_stage(folder: StageFolder, name: str, damage: list[str]) -> StageFacts:
    try:
        if folder.is_done:
            done = load_record(FullStageRecord, folder.record)
            summary, digest = done.summary, sha256(folder.record)
            return StageFacts(
                name, "done", "", done.seconds, summary, done.versions, read_lines(folder.metrics), digest
            )
        if not folder.state.is_file():
            return StageFacts(name, "waiting")
        state = load_record(StateRecord, folder.state)
        about = begun_state(folder, state), state.why, state.seconds
        return StageFacts(name, *about, lines=read_lines(folder.metrics))
    except DamagedError as error:
        damage.append(str(error))
        return StageFacts(name, "failed", str(error))
