"""The scores of a run's encoders: RUN/evals/NAME.json, one file for each stage, labeled folder and settings.

Scores are kept for readers (the report, the model card, `divcon compare`) and no result depends on them: a file that is damaged,
or of an encoder that is not there any more, is ignored.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..answers import Answer, fields_of
from ..errors import DamagedError, DiskError, OwnedError
from ..files.integrity import digest, read_json, sha256, write_json
from ..files.text import printable
from ..log import info, warning
from .folder import ENCODER_SETTINGS, EVALS, RunFolder
from .json_files import as_record
from .records import STAGE_NAME, versions
from .refusals import refuse_links

ADVICE = "remove this file; the command divcon eval makes its scores again"


@dataclass(frozen=True)
class KnnScores(Answer):
    """Shares of the test images, in 0..1, with the right class by nearest neighbors.

    `k20` and `k200` are of 20 and of 200 neighbors; `top1`, `balanced` (the mean over classes) and `per_class` of 20. `many`,
    `medium` and `few` are means over thirds of the classes by their training images, where these numbers differ. `raw` are the
    scores of raw features, if these are of whitened ones.
    """

    k20: float
    k200: float
    top1: float
    balanced: float
    per_class: dict[str, float | None]
    many: float | None = None
    medium: float | None = None
    few: float | None = None
    raw: "KnnScores | None" = None


@dataclass(frozen=True)
class LinearScores(Answer):
    """Shares of the test images, in 0..1, with the right class by a linear classifier with this `penalty`.

    If the images are too few, all of these are None and `reason` says why.
    """

    top1: float | None
    balanced: float | None
    per_class: dict[str, float | None] | None
    penalty: float | None
    reason: str | None = None
    many: float | None = None
    medium: float | None = None
    few: float | None = None


@dataclass(frozen=True)
class TaskScores(Answer):
    """The scores of any other task. `score` is the one that tables show, in 0..1, and `metric` its name.

    `more` has the task's other scores by name, `chosen` the settings that were chosen on held-out training images. `table` has
    the scores of a task that tries several layers or numbers: a row for each. If the images are too few, `score` is None and
    `reason` says why.
    """

    metric: str
    score: float | None
    more: dict[str, float]
    chosen: dict[str, float]
    per_class: dict[str, float | None] | None = None
    reason: str | None = None
    table: list[dict[str, str | int | float]] | None = None


@dataclass(frozen=True)
class EvaluateAnswer(Answer):
    """The answer of `evaluate`: counts of images and classes, how the images were split, and the scores of each task.

    The scores of a task that was not asked for are None; `tasks` has those of the tasks besides kNN and linear, by name.
    """

    model: str
    images: int
    train: int
    test: int
    classes: int
    split_seed: int
    dropped_classes: list[str]
    parts: dict[str, list[str]] | None
    left_out: dict[str, int]
    knn: KnnScores | None = None
    linear: LinearScores | None = None
    tasks: dict[str, TaskScores] | None = None

    @property
    def main_scores(self) -> dict[str, float]:
        """The score of each task that a table shows: the top-1 accuracy of 20 neighbors and of the linear classifier, and
        each other task's `score`. A task that had too few images is left out."""
        found = {
            "knn": self.knn.top1 if self.knn else None,
            "linear": self.linear.top1 if self.linear else None,
            **{name: task.score for name, task in (self.tasks or {}).items()},
        }
        return {name: score for name, score in found.items() if score is not None}

    @property
    def others(self) -> dict[str, float]:
        """The scores that a table shows of the tasks besides kNN and linear."""
        return {name: score for name, score in self.main_scores.items() if name not in ("knn", "linear")}

    @property
    def reasons(self) -> dict[str, str]:
        """The tasks that had too few images, and why."""
        scores = {"linear": self.linear, **(self.tasks or {})}
        return {name: each.reason for name, each in scores.items() if each and each.reason}


@dataclass(frozen=True)
class EvalKey:
    """All but the encoder that scores depend on: a fingerprint of the images with their classes and their split, and the
    settings, those of each task too. `whiten` is None, unless whitening was switched off."""

    labeled: str
    tasks: list[str]
    seed: int
    layer: str
    precision: str
    whiten: bool | None = None
    settings: dict[str, dict[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class KeptScores:
    """The scores of the encoder of a stage. `encoder` is the SHA-256 of its encoder.json, and `folder` is where the labeled
    images lay."""

    stage: str
    encoder: str
    folder: str
    key: EvalKey
    scores: EvaluateAnswer
    versions: dict[str, str] = field(default_factory=versions)


def kept_scores(run: Path) -> list[KeptScores]:
    """Return the scores that are kept in a run and belong to the encoders that it has now, in the order of their names."""
    return [kept for file in sorted((run / EVALS).glob("*.json")) for kept in _read(run, file)]


def find_scores(run: Path, stage: str, key: EvalKey) -> EvaluateAnswer | None:
    """Return the scores of the stage's encoder for this key, or None if they are not kept."""
    return next((kept.scores for kept in _read(run, _file(run, stage, key)) if kept.key == key), None)


def keep_scores(run: Path, stage: str, folder: str, key: EvalKey, scores: EvaluateAnswer) -> None:
    """Write the scores of a stage's encoder into its run; log a warning where the run can't be written to."""
    shown = replace(scores, model=printable(scores.model))  # a name that is not UTF-8 could not be read back
    kept = KeptScores(stage, _encoder(run, stage), folder, key, shown)
    try:
        refuse_links(run, [EVALS])
        write_json(_file(run, stage, key), fields_of(kept))
    except (DiskError, OwnedError) as error:
        warning(f"the scores are not kept in the run: {error}")


def compared_alike(answers: Sequence[EvaluateAnswer]) -> list[EvaluateAnswer]:
    """Return the answers with neighbors by features of one kind: raw ones, unless all are whitened."""
    if all(answer.knn is None or answer.knn.raw is not None for answer in answers):
        return [*answers]
    return [replace(answer, knn=answer.knn and (answer.knn.raw or answer.knn)) for answer in answers]


def stage_of(folder: Path) -> tuple[Path, str] | None:
    """Return the run and the name of the stage whose folder this is, or None if it is in no run."""
    folder = folder.absolute()
    for run in folder.parents[:2]:
        name = str(folder.relative_to(run))
        if RunFolder(run).is_run and STAGE_NAME.fullmatch(name):
            return run, name
    return None


def _file(run: Path, stage: str, key: EvalKey) -> Path:
    return run / EVALS / f"{stage.replace('/', '-')}-{digest(json.dumps(fields_of(key), sort_keys=True))}.json"


def _read(run: Path, file: Path) -> Iterator[KeptScores]:
    """Yield the scores in a file, if it is there, is not damaged, and is about an encoder that the run has."""
    try:
        kept = as_record(KeptScores, read_json(file, ADVICE), file, advice=ADVICE)
        if STAGE_NAME.fullmatch(kept.stage) and kept.encoder == _encoder(run, kept.stage):
            yield kept
    except FileNotFoundError:
        return
    except DamagedError as error:
        info(f"scores are ignored: {error}")
    except OSError as error:
        info(f"scores are ignored: {printable(file)} can't be read ({error.strerror or error})")


def _encoder(run: Path, stage: str) -> str:
    """The SHA-256 of a stage's encoder.json, which has that of the weights."""
    return sha256(RunFolder(run).stage(stage).path / ENCODER_SETTINGS)
