"""The files of a run: every name that a run's folder, or a stage's, can hold, and the type of what is in it.

RUN/run.json                    RunRecord: what was asked for, the machine, the stages
RUN/images/                     the index of the collection (INDEX and its tables, MANIFEST.json)
RUN/evals/                      scores of the run's encoders (runs/evals.py)
RUN/loggers/                    what each logger of `log=` has got (loggers/sent.py); their own files are beside it
RUN/clusters.png                a contact sheet of the clusters, drawn by `divcon demo`
RUN/report.html                 the report, and RUN/report/ with the sample of images that it shows
RUN/features/                   the final encoder's features of all images (FEATURES_FILE, WHITENING, MANIFEST.json), made when first needed; until
                                then features.npy.begun and features.npy.parts.json, as in a stage
RUN/STAGE/state.json            StateRecord, until the stage is done
RUN/STAGE/stage.json            StageRecord, written last: the stage is done
RUN/STAGE/lock                  its owner (runs/owner.py)
RUN/STAGE/metrics.jsonl         a MetricsLine for each logged step
RUN/STAGE/checkpoints/          of a stage that is running: step-00001200/ with MODEL, OPTIMIZER and MANIFEST.json
RUN/STAGE/teacher_targets.npy   of a student that is running, with a manifest beside it
RUN/STAGE/sample.npy.begun      of a division that is running: the features of the sample, and sample.npy.parts.json with the hashes
                                of the finished parts (train/streamed_rows.py); likewise assigned.npy, the cluster of each image
RUN/STAGE/...                   the artifact: ENCODER with its WHITENING and its settings, or CLUSTERS, or EXPERT_SCORES
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..files.integrity import sha256

RUN, IMAGES, SHEET = "run.json", "images", "clusters.png"
REPORT, REPORT_FOLDER, EVALS, LOGGERS = "report.html", "report", "evals", "loggers"
FEATURES, FEATURES_FILE, WHITENING = "features", "features.npy", "whitening.safetensors"
STAGE, STATE, LOCK, METRICS = "stage.json", "state.json", "lock", "metrics.jsonl"
CHECKPOINTS, MODEL, OPTIMIZER, FACTORS = "checkpoints", "model.safetensors", "optimizer.safetensors", "step-newest"
MANIFEST = "MANIFEST.json"
TARGETS, TARGETS_MANIFEST = "teacher_targets.npy", "teacher_targets.json"
ENCODER, ENCODER_SETTINGS = "encoder.safetensors", "encoder.json"
CLUSTERS, CENTROIDS, SAMPLE, SAMPLE_POSITIONS = (
    "clusters.parquet",
    "centroids.npy",
    "sample.npy",
    "sample_positions.npy",
)
ASSIGNED, BEGUN, PARTS = (
    "assigned.npy",
    ".begun",
    ".parts.json",
)  # BEGUN and PARTS are added to the name of a file of rows
EXPERT_SCORES = "expert_scores.json"
INDEX, REJECTED, DUPLICATES = "index.arrow", "rejected.csv", "duplicates.csv"

ROWS = tuple(f"{name}{end}" for name in (SAMPLE, ASSIGNED) for end in (BEGUN, PARTS))
WORKING = (CHECKPOINTS, STATE, LOCK, TARGETS, TARGETS_MANIFEST, ASSIGNED, *ROWS)  # of a stage that is not done yet
MANIFESTS = (STAGE, MANIFEST, TARGETS_MANIFEST)  # they hold the hashes of the files beside them
CHECKPOINT = re.compile(r"step-(\d{8,})")


def begun_rows(file: Path) -> Path:
    """The name of a file of rows while it is written."""
    return file.with_name(f"{file.name}{BEGUN}")


def parts_of_rows(file: Path) -> Path:
    """The list of the finished parts of a file of rows."""
    return file.with_name(f"{file.name}{PARTS}")


@dataclass(frozen=True)
class StageFolder:
    """The folder of one stage."""

    path: Path

    @property
    def record(self) -> Path:
        return self.path / STAGE

    @property
    def state(self) -> Path:
        return self.path / STATE

    @property
    def metrics(self) -> Path:
        return self.path / METRICS

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def is_done(self) -> bool:
        return self.record.exists()

    def manifests(self) -> Iterator[Path]:
        """The manifests of its checkpoints."""
        return self.checkpoints.glob(f"step-*/{MANIFEST}")

    def has_checkpoints(self) -> bool:
        return any(self.checkpoints.glob("step-*"))

    def has_working_files(self) -> bool:
        """True if something is left there that only a running stage needs."""
        return any((self.path / name).exists() for name in WORKING)

    def result(self) -> list[Path]:
        """The files of the artifact and its metrics: all but stage.json and the working files."""
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        return [path for path in files if path.relative_to(self.path).parts[0] not in (*WORKING, STAGE)]


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run."""

    path: Path

    @property
    def record(self) -> Path:
        return self.path / RUN

    @property
    def images(self) -> Path:
        return self.path / IMAGES

    @property
    def features(self) -> Path:
        return self.path / FEATURES

    @property
    def is_run(self) -> bool:
        return self.record.exists()

    def stage(self, name: str) -> StageFolder:
        return StageFolder(self.path / name)

    def begun_stages(self) -> list[str]:
        """The names of the stages that are done or begun."""
        marks = [*self.path.rglob(STAGE), *self.path.rglob(STATE)]
        return sorted({str(mark.parent.relative_to(self.path)) for mark in marks})

    def has_checkpoints(self) -> bool:
        return any(self.path.rglob(f"{CHECKPOINTS}/step-*"))

    def checkpoint_bytes(self) -> int:
        """The bytes of all checkpoints."""
        return sum(file.stat().st_size for file in self.path.glob(f"**/{CHECKPOINTS}/step-*/*") if file.is_file())

    def done_hashes(self, stages: list[str]) -> dict[str, str]:
        """The SHA-256 of each stage's stage.json; empty unless all of the stages are done."""
        folders = {name: self.stage(name) for name in stages}
        if not all(folder.record.is_file() for folder in folders.values()):
            return {}
        return {name: sha256(folder.record) for name, folder in folders.items()}
