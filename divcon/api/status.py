"""The state of each stage of a run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import DamagedError
from ..runs import owner
from ..runs.folder import RunFolder, StageFolder
from ..runs.json_files import as_record, load_record
from ..runs.metrics_file import read_lines
from ..runs.records import MetricsLine, StageRecord, StateRecord, Throughput, run_record
from ..runs.verify import verify_run
from .entry import runs_concurrently

UNKNOWN = Throughput()  # of a stage that trained nothing


@runs_concurrently
def status(run: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """Return the state of each stage: waiting, running, interrupted, failed or done; how far it is, how fast, and the
    seconds that are left. With `verify` every file is compared with its hash."""
    folder = RunFolder(Path(run))
    record = run_record(folder.path)
    stages = {name: stage_status(folder.stage(name)) for name in record.expected_stages()}
    result: dict[str, Any] = {"images": record.used, "stages": stages}
    if verify:
        result["damaged"] = verify_run(folder.path)
    return result


def stage_status(folder: StageFolder) -> dict[str, Any]:
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
    **more: Any,
) -> dict[str, Any]:
    rates = {name: getattr(throughput, name) for name in asdict(UNKNOWN)}
    return {**rates, "state": state, **more, "progress": progress, "eta": eta, "seconds": seconds}


def _done(record: StageRecord) -> dict[str, Any]:
    return _answer("done", record.summary, progress=1.0, eta=0.0, seconds=record.seconds)


def _begun(folder: StageFolder, record: StateRecord) -> dict[str, Any]:
    """The status of a stage that has a state.json, by that and by the last line of its metrics."""
    alive = record.state != "running" or owner.owner_of(folder.path) is not None
    state = record.state if alive else "interrupted"  # killed without a word
    about: dict[str, Any] = {"why": record.why, "seconds": round(record.seconds, 1)}
    lines = read_lines(folder.metrics)
    if not lines:
        return _answer(state, **about)
    last = as_record(MetricsLine, lines[-1], folder.metrics)
    done = last.step + 1
    rate = last.images_per_second
    eta = round((last.steps - done) * last.batch_size / rate, 1) if rate else None
    seen = Throughput(done * last.batch_size, rate, last.data_wait, last.peak_rss_mb)
    return _answer(state, seen, progress=round(done / last.steps, 4), eta=eta, **about)
