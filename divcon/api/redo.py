"""Forget a stage of a run."""

from pathlib import Path

from ..runs.forget import forget_stages
from ..runs.records import run_record
from .entry import runs_concurrently


@runs_concurrently
def redo(run: str | Path, stage: str) -> list[str]:
    """Forget a stage and those that follow from it; return the names of what was removed."""
    run_record(Path(run))
    return forget_stages(Path(run), stage)
