"""The numbers and the places that a user of a run asks for first. Torch is not loaded."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DamagedError
from ..files.integrity import read_json
from ..runs.folder import ENCODER, RunFolder
from ..runs.json_files import load_record
from ..runs.records import RunRecord, StageRecord

REPORT, EVALS = "report.html", "evals"


@dataclass(frozen=True)
class RunSummary:
    """The images of a run and how many of them its trainings showed; the seconds of all its stages; its encoder and its report,
    where they are there; and its scores (0..1), by the name of the file in RUN/evals that holds them."""

    images: int
    images_seen: int
    seconds: float
    stages: dict[str, float]
    encoder: str | None
    report: str | None
    scores: dict[str, dict[str, float]]


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


def scores_of(folder: Path) -> dict[str, dict[str, float]]:
    """Return the scores that RUN/evals keeps: those of the tasks `knn` and `linear`, by the name of the file."""
    scores = dict[str, dict[str, float]]()
    for file in sorted((folder / EVALS).glob("*.json")):
        with contextlib.suppress(OSError, DamagedError):
            if found := _top1(read_json(file)):
                scores[file.stem] = found
    return scores


def _top1(answer: object) -> dict[str, float]:
    """The accuracies in the answer of an evaluation, by task."""
    tasks = answer.items() if isinstance(answer, Mapping) else ()
    top1 = {task: result.get("top1") for task, result in tasks if isinstance(result, Mapping)}
    return {str(task): float(score) for task, score in top1.items() if isinstance(score, int | float)}


def _if_there(path: Path) -> str | None:
    return str(path) if path.is_file() else None
