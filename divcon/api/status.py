"""The state of each stage of a run."""

from dataclasses import dataclass, fields
from pathlib import Path

from ..answers import Answer
from ..errors import DamagedError
from ..runs.folder import RunFolder, StageFolder
from ..runs.json_files import as_record, load_record
from ..runs.metrics_file import read_lines
from ..runs.records import MetricsLine, StageRecord, StateRecord, Throughput, run_record
from ..runs.state import begun_state
from ..runs.verify import verify_run
from .entry import runs_concurrently

UNKNOWN = Throughput()  # of a stage that trained nothing


@dataclass(frozen=True, kw_only=True)
class StageStatus(Answer):
    """The state of a stage, its progress (0..1), and the seconds that it took and that are left.

    `state` is waiting, running, interrupted, failed or done; `why` has the reason for the last three. The numbers of a
    stage that trains nothing are None.
    """

    images_seen: int | None
    images_per_second: float | None
    data_wait: float | None
    peak_rss_mb: float | None
    state: str
    why: str | None = None
    progress: float
    eta: float | None
    seconds: float


@dataclass(frozen=True)
class StatusAnswer(Answer):
    """The answer of `status`: the images of the run, and each stage; `damaged` if the files were compared with their hashes."""

    images: int
    stages: dict[str, StageStatus]
    damaged: list[str] | None = None


@runs_concurrently
def status(run: str | Path, *, verify: bool = False) -> StatusAnswer:
    """Return the state of each stage: waiting, running, interrupted, failed or done; how far it is, how fast, and the
    seconds that are left. With `verify` every file is compared with its hash."""
    folder = RunFolder(Path(run))
    record = run_record(folder.path)
    stages = {name: stage_status(folder.stage(name)) for name in record.expected_stages()}
    return StatusAnswer(record.used, stages, verify_run(folder.path) if verify else None)


def stage_status(folder: StageFolder) -> StageStatus:
    """The status of one stage; of one whose files are damaged, that it failed."""
    try:
        if folder.is_done:
            return _done(load_record(StageRecord, folder.record))
        if not folder.state.exists():
            return _answer("waiting")
        return _begun(folder, load_record(StateRecord, folder.state))
    except DamagedError as error:
        return _answer("failed", why=str(error))


def _answer(
    state: str,
    throughput: Throughput = UNKNOWN,
    *,
    progress: float = 0.0,
    eta: float | None = None,
    seconds: float = 0.0,
    why: str | None = None,
) -> StageStatus:
    rates = {field.name: getattr(throughput, field.name) for field in fields(UNKNOWN)}
    return StageStatus(**rates, state=state, why=why, progress=progress, eta=eta, seconds=seconds)


def _done(record: StageRecord) -> StageStatus:
    return _answer("done", record.summary, progress=1.0, eta=0.0, seconds=record.seconds)


def _begun(folder: StageFolder, record: StateRecord) -> StageStatus:
    """The status of a stage that has a state.json, by that and by the last line of its metrics."""
    state, seconds = begun_state(folder, record), round(record.seconds, 1)
    lines = read_lines(folder.metrics)
    if not lines:
        return _answer(state, why=record.why, seconds=seconds)
    last = as_record(MetricsLine, lines[-1], folder.metrics)
    done = last.step + 1
    rate = last.images_per_second
    eta = round((last.steps - done) * last.batch_size / rate, 1) if rate else None
    seen = Throughput(done * last.batch_size, rate, last.data_wait, last.peak_rss_mb)
    return _answer(state, seen, progress=round(done / last.steps, 4), eta=eta, why=record.why, seconds=seconds)
