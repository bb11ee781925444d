"""The run that an encoder comes from, as far as its folder tells."""

from dataclasses import dataclass

from ..nets.trained import Trained
from ..runs.evals import KeptScores, kept_scores, stage_of
from ..runs.records import RunRecord


@dataclass(frozen=True)
class Origin:
    """The stage that trained an encoder, the record of its run, and the stage's scores that the run has kept."""

    stage: str
    record: RunRecord
    scores: list[KeptScores]


def origin_of(model: Trained) -> Origin | None:
    """Return the origin of an encoder of a run; None for an encoder that lies in no stage of a run."""
    found = stage_of(model.folder) if model.folder else None
    if found is None:
        return None
    run, stage = found
    record = RunRecord.read(run)
    if stage not in record.expected_stages():
        return None
    return Origin(stage, record, [kept for kept in kept_scores(run) if kept.stage == stage])
