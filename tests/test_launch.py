"""The launch files: shells and YAML can read them, their commands can be typed, and they do with each exit code what they say."""

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_readme import ROOT, Parsed, ReachedError, added, parsed  # noqa: F401 - fixtures

from divcon.errors import StoppedError, UsageError, WaitingError
from divcon.runs.scheduler import POD

LAUNCH = ROOT / "examples/launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
DOCUMENTS = {file.name: list(yaml.safe_load_all(file.read_text())) for file in sorted(LAUNCH.glob("*.yaml"))}
ENVIRONMENT = {
    "HEAD": "machine-1", "SLURM_JOB_ID": "71", "SLURM_CPUS_PER_TASK": "12", "SLURM_ARRAY_TASK_ID": "3",
}  # fmt: skip
STAND_IN = '#!/bin/bash\nprintf "%s\\n" "{name}" "$@" >> "$LINES"; printf "\\n" >> "$LINES"\nexit {code}\n'
BASH = shutil.which("bash")


@dataclass(frozen=True)
class Launched:
    """The exit code of a launch file, and the commands that it typed."""

    code: int
    commands: list[list[str]]

    @property
    def divcon(self) -> str:
        """The command line of divcon, without the launcher."""
        words = self.commands[0]
        return shlex.join(words[words.index("divcon") :])


def launched(script: Path, folder: Path, code: int = 0, *words: str) -> Launched:
    """Run a launch file where torchrun and srun are stand-ins that end with the code."""
    lines = folder / "lines"
    for name, its in (("torchrun", code), ("srun", code), ("scontrol", 0)):
        stand_in = folder / name
        stand_in.write_text(STAND_IN.format(name=name, code=its))
        stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | ENVIRONMENT | {"LINES": str(lines), "PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["bash", str(script), "my photos/", "runs/photos", *words]
    ended = subprocess.run(command, env=environment, capture_output=True, check=False)
    blocks = lines.read_text().split("\n\n")
    return Launched(ended.returncode, [block.splitlines() for block in blocks if block])


def documented(script: Path) -> Iterator[str]:
    """The words that the comments of a launch file add to a command."""
    yield ""
    for line in script.read_text().splitlines():
        if line.startswith("#     ") and "--only" in line:
            yield line[line.index("--only") :].rstrip(") ")


needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


@needs_bash
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_shell_reads_a_launch_file(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@needs_bash
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_command_of_a_launch_file_can_be_typed(script: Path, tmp_path: Path, parsed: Parsed) -> None:  # noqa: F811
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    for more in documented(script):
        (folder / "lines").unlink(missing_ok=True)
        line = launched(script, folder, 0, "epochs=60", *more.split()).divcon
        assert line.startswith("divcon run 'my photos/' out=runs/photos") and "epochs=60" in line and more in line
        with pytest.raises(ReachedError):
            parsed(line)


@needs_bash
@pytest.mark.parametrize(("head", "node"), [(os.uname().nodename, 0), ("machine-1", 1)])
def test_two_machines_meet_at_the_one_of_that_name(
    head: str, node: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "HEAD", head)
    (command,) = launched(LAUNCH / "torchrun_two_machines.sh", tmp_path).commands
    assert {f"--node-rank={node}", f"--master-addr={head}"} <= {*command}


@needs_bash
@pytest.mark.parametrize("script", [script for script in SCRIPTS if script.suffix == ".sbatch"], ids=lambda s: s.name)
@pytest.mark.parametrize("code", [0, StoppedError.code, WaitingError.code, UsageError.code])
def test_only_a_stopped_and_saved_job_is_requeued(script: Path, code: int, tmp_path: Path) -> None:
    ended = launched(script, tmp_path, code)
    requeued = ["scontrol", "requeue", "71"] in ended.commands
    assert ended.code == code and requeued == (code == StoppedError.code)


def test_the_codes_that_a_scheduler_tells_apart_differ() -> None:
    assert StoppedError.code != WaitingError.code


def jobs() -> list[dict[str, Any]]:
    return DOCUMENTS["kubernetes.yaml"]


def containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    pod = job["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("job", jobs(), ids=lambda job: job["metadata"]["name"])
def test_the_commands_of_a_kubernetes_job_can_be_typed(job: dict[str, Any], parsed: Parsed) -> None:  # noqa: F811
    for container in containers(job):
        line = shlex.join(container["command"]).replace("$(JOB_COMPLETION_INDEX)", "3")
        with pytest.raises(ReachedError):
            parsed(line)


@pytest.mark.parametrize("job", jobs(), ids=lambda job: job["metadata"]["name"])
def test_a_kubernetes_job_may_take_over_from_a_pod_because_that_has_ended(job: dict[str, Any]) -> None:
    """docs/decisions/dead-owners.md: one container at a time runs divcon, and no pod is replaced while it may run."""
    assert job["spec"]["podReplacementPolicy"] == "Failed" and job["spec"]["completionMode"] == "Indexed"
    assert len(job["spec"]["template"]["spec"]["containers"]) == 1
    for container in containers(job):
        assert POD in [variable["name"] for variable in container["env"]]


@pytest.mark.parametrize("job", jobs(), ids=lambda job: job["metadata"]["name"])
def test_a_kubernetes_job_tries_again_what_was_stopped_and_nothing_that_would_fail_again(job: dict[str, Any]) -> None:
    rules = [rule for rule in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    action = {code: rule["action"] for rule in rules for code in rule["onExitCodes"]["values"]}
    assert action[StoppedError.code] == "Ignore"
    assert action[WaitingError.code].startswith("Fail") and action[UsageError.code].startswith("Fail")


def test_the_command_for_skypilot_can_be_typed(parsed: Parsed) -> None:  # noqa: F811
    (task,) = DOCUMENTS["skypilot.yaml"]
    (line,) = task["run"].splitlines()
    with pytest.raises(ReachedError):
        parsed(line.replace("$RUN", task["envs"]["RUN"]))
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [StoppedError.code]
