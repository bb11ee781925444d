"""The numbers and the places that a user of a run asks for first. Torch is not loaded."""

from dataclasses import dataclass
from pathlib import Path

from ..answers import Answer
from ..runs.evals import kept_scores
from ..runs.folder import ENCODER, REPORT, RunFolder
from ..runs.json_files import load_record
from ..runs.records import RunRecord, StageRecord


@dataclass(frozen=True)
class RunScores:
    """The accuracies of a stage's encoder on a labeled folder, by task: `knn` of 20 neighbors, and `linear`."""

    stage: str
    labeled: str
    top1: dict[str, float]


@dataclass(frozen=True)
class RunSummary(Answer):
    """The images of a run and how many of them its trainings showed; the seconds of all its stages; its encoder and its report,
    where they are there; and the scores (0..1) of its encoders that it keeps."""

    images: int
    images_seen: int
    seconds: float
    stages: dict[str, float]
    encoder: str | None
    report: str | None
    scores: list[RunScores]


def summarize(folder: Path) -> RunSummary:
    """Return the summary of a run, as far as its stages are done."""
    run, record = RunFolder(folder), RunRecord.read(folder)
    done = [name for name in record.expected_stages() if run.stage(name).is_done]
    stages = {name: load_record(StageRecord, run.stage(name).record) for name in done}
    return RunSummary(
        record.used,
        sum(stage.summary.images_seen or 0 for stage in stages.values()),
        round(sum(stage.seconds for stage in stages.values()), 1),
        {name: stage.seconds for name, stage in stages.items()},
        _if_there(run.stage(record.final).path / ENCODER),
        _if_there(folder / REPORT),
        scores_of(folder),
    )


def scores_of(folder: Path) -> list[RunScores]:
    """Return the scores that RUN/evals keeps."""
    found = [RunScores(kept.stage, kept.folder, kept.scores.main_scores) for kept in kept_scores(folder)]
    return [scores for scores in found if scores.top1]


def named_scores(folder: Path) -> dict[str, float]:
    """Return the scores by stage, name of the labeled folder and task: "student/labeled/knn"."""
    return {
        f"{scores.stage}/{Path(scores.labeled).name}/{task}": top1
        for scores in scores_of(folder)
        for task, top1 in scores.top1.items()
    }


def _if_there(path: Path) -> str | None:
    return str(path) if path.is_file() else None
