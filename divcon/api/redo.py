"""Forget a stage of a run."""

from pathlib import Path

from ..runs.records import forget_stages
from .entry import runs_concurrently
from .status import run_record


@runs_concurrently
def redo(run: str | Path, stage: str) -> list[str]:
    """Forget a stage and what follows from it; the names of what was removed."""
    run_record(Path(run))
    return forget_stages(Path(run), stage)
