"""Report the state of each stage of a run."""

from pathlib import Path
from typing import Any

from ..errors import DamagedError, InputError
from ..files.text import printable
from ..runs import json_files, owner
from ..runs.metrics_file import read_lines
from ..runs.records import RunRecord, expected_stages
from ..runs.records import verify_run as verify_hashes
from .entry import runs_concurrently

UNKNOWN = dict.fromkeys(
    ("images_seen", "images_per_second", "data_wait", "peak_rss_mb")
)  # of a stage that trained nothing


@runs_concurrently
def status(run: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """Return the state of each stage (waiting, running, interrupted, failed or done), its progress, speed and time left.

    With `verify`, every hash is checked, and `damaged` lists the files that differ. Raises InputError if `run` is no run folder.
    """
    folder = Path(run)
    record = run_record(folder)
    stages = {name: stage_status(folder / name) for name in expected_stages(folder, record)}
    result: dict[str, Any] = {"images": record.used, "stages": stages}
    if verify:
        result["damaged"] = verify_hashes(folder)
    return result


def stage_status(folder: Path) -> dict[str, Any]:
    """Return the status of one stage; a stage whose files are damaged has failed."""
    try:
        return _stage_status(folder)
    except DamagedError as error:
        return {**UNKNOWN, "state": "failed", "why": str(error), "progress": 0.0, "eta": None, "seconds": 0.0}


def _stage_status(folder: Path) -> dict[str, Any]:
    if (folder / "stage.json").exists():
        done = json_files.read_record(json_files.StageRecord, folder / "stage.json")
        return {
            **UNKNOWN,
            "state": "done",
            "progress": 1.0,
            "eta": 0.0,
            "seconds": done["seconds"],
            **_rates(done["notes"]),
        }
    if not (folder / "state.json").exists():
        return {**UNKNOWN, "state": "waiting", "progress": 0.0, "eta": None, "seconds": 0.0}
    state = json_files.read_record(json_files.StateRecord, folder / "state.json")
    running = state["state"] == "running" and owner.holder_of(folder) is not None
    name = state["state"] if running or state["state"] != "running" else "interrupted"  # killed before it could write
    return {**UNKNOWN, "state": name, "why": state["why"], "seconds": round(state["seconds"], 1), **_progress(folder)}


def _progress(folder: Path) -> dict[str, Any]:
    """The progress and the time left (seconds) of a stage, from the last line of its metrics file."""
    lines = read_lines(folder / "metrics.jsonl")
    if not lines:
        return {"progress": 0.0, "eta": None}
    last = json_files.checked_record(json_files.MetricsLine, lines[-1], folder / "metrics.jsonl")
    done, steps = last["step"] + 1, last["steps"]
    per_step = last["images_per_second"] and last["batch_size"] / last["images_per_second"]
    eta = round((steps - done) * per_step, 1) if per_step else None
    return {"progress": round(done / steps, 4), "eta": eta, "images_seen": done * last["batch_size"], **_rates(last)}


def _rates(notes: dict[str, Any]) -> dict[str, Any]:
    return {key: notes[key] for key in UNKNOWN if key in notes}


def run_record(folder: Path) -> RunRecord:
    """Return the record of a run; raise InputError if the folder is no run folder."""
    if not (folder / "run.json").exists():
        raise InputError(f"{printable(folder)} is not a run: there is no run.json in it")
    return RunRecord.read(folder)
