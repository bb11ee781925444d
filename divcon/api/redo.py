"""Remove a stage of a run, so that the next run does it again."""

from pathlib import Path

from ..runs.records import forget_stages
from .entry import runs_concurrently
from .status import run_record


@runs_concurrently
def redo(run: str | Path, stage: str) -> list[str]:
    """Remove a stage of a run folder and all stages that depend on it; return the names of the removed stages."""
    run_record(Path(run))
    return forget_stages(Path(run), stage)
