"""Forget a stage of a run."""

from dataclasses import dataclass
from pathlib import Path

from ..answers import Answer
from ..runs.forget import forget_stages
from ..runs.records import run_record
from .entry import runs_concurrently


@dataclass(frozen=True)
class RedoAnswer(Answer):
    """The answer of `redo`: the names of the stages that were removed."""

    removed: list[str]


@runs_concurrently
def redo(run: str | Path, stage: str) -> RedoAnswer:
    """Forget a stage and those that follow from it."""
    run_record(Path(run))
    return RedoAnswer(forget_stages(Path(run), stage))
