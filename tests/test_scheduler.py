"""A lock of an earlier attempt of this very job is taken over where the scheduler began the job again; no other lock is."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from divcon.errors import OwnedError
from divcon.files.integrity import seal
from divcon.runs import owner
from divcon.runs.scheduler import ScheduledJob, current_job

SLURM = {"SLURM_JOB_ID": "71", "SLURM_CLUSTER_NAME": "a"}
ARRAY = {**SLURM, "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}
POD = {"DIVCON_POD_UID": "pod-1"}
INDEXED = {**POD, "DIVCON_JOB_UID": "job-1", "JOB_COMPLETION_INDEX": "3"}
NAMES = {*ARRAY, *INDEXED, "SLURM_RESTART_COUNT"}


def again(environment: dict[str, str], **changed: str) -> dict[str, str]:
    return environment | changed


def begun_in(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Let this process be in a job with this environment."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def is_taken_over(
    monkeypatch: pytest.MonkeyPatch, folder: Path, before: dict[str, str], now: dict[str, str], host: str
) -> bool:
    """True if a process in the environment `now` takes a folder that a process on `host` owned in `before`."""
    begun_in(monkeypatch, before)
    held = {**asdict(owner.this_process()), "pid": 1, "host": host}
    (folder / "lock").write_text(seal(json.dumps(held)))
    begun_in(monkeypatch, now)
    try:
        with owner.owned(folder):
            owner.check(folder)
            return True
    except OwnedError:
        return False


@pytest.mark.parametrize(
    ("before", "now", "taken"),
    [
        (SLURM, again(SLURM, SLURM_RESTART_COUNT="1"), True),
        (again(SLURM, SLURM_RESTART_COUNT="9"), again(SLURM, SLURM_RESTART_COUNT="10"), True),
        (ARRAY, again(ARRAY, SLURM_RESTART_COUNT="1"), True),
        (SLURM, SLURM, False),
        (again(SLURM, SLURM_RESTART_COUNT="2"), again(SLURM, SLURM_RESTART_COUNT="1"), False),
        (SLURM, again(SLURM, SLURM_JOB_ID="72", SLURM_RESTART_COUNT="1"), False),
        (SLURM, again(SLURM, SLURM_CLUSTER_NAME="b", SLURM_RESTART_COUNT="1"), False),
        (ARRAY, again(ARRAY, SLURM_ARRAY_TASK_ID="4", SLURM_RESTART_COUNT="1"), False),
        (SLURM, {}, False),
        ({}, again(SLURM, SLURM_RESTART_COUNT="1"), False),
        (INDEXED, again(INDEXED, DIVCON_POD_UID="pod-2"), True),
        (INDEXED, again(INDEXED, DIVCON_POD_UID="pod-2", JOB_COMPLETION_INDEX="4"), False),
        (INDEXED, again(INDEXED, DIVCON_POD_UID="pod-2", DIVCON_JOB_UID="job-2"), False),
        (POD, again(POD, DIVCON_POD_UID="pod-2"), False),
        (INDEXED, again(SLURM, SLURM_RESTART_COUNT="1"), False),
    ],
)
def test_only_a_later_attempt_of_the_same_job_takes_over_from_another_host(
    before: dict[str, str], now: dict[str, str], taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_taken_over(monkeypatch, tmp_path, before, now, "elsewhere") == taken


@pytest.mark.parametrize("environment", [POD, INDEXED])
def test_a_container_that_was_begun_again_in_its_pod_takes_over(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name space of process numbers is another one, and the old container had ended before it was made."""
    hostname, boot, *_ = owner.host().split()
    before = f"{hostname} {boot} pid:[1]"
    assert is_taken_over(monkeypatch, tmp_path, environment, environment, before)


def test_a_living_process_of_this_container_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun_in(monkeypatch, POD)
    with owner.owned(tmp_path), pytest.raises(OwnedError, match="in use by"), owner.owned(tmp_path):
        pass


def test_a_lock_from_before_jobs_were_recorded_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun_in(monkeypatch, SLURM)
    held = {name: value for name, value in asdict(owner.this_process()).items() if name != "job"}
    (tmp_path / "lock").write_text(seal(json.dumps(held | {"host": "elsewhere"})))
    with pytest.raises(OwnedError, match="elsewhere"), owner.owned(tmp_path):
        pass


@pytest.mark.parametrize(
    "content", [None, 7, {}, {"name": ["x"]}, {"name": "slurm a 71 ", "restarts": "many"}, {"x": 1}]
)
def test_what_is_no_job_in_a_lock_proves_nothing(content: object) -> None:
    assert ScheduledJob.of(content) is None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "x"},
        again(SLURM, SLURM_RESTART_COUNT="-1"),
        {"JOB_COMPLETION_INDEX": "3"},
        {"DIVCON_JOB_UID": "j"},
    ],
)
def test_an_environment_that_names_no_whole_job_is_none(environment: dict[str, str]) -> None:
    assert current_job(environment) is None
