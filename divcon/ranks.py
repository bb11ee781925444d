"""The place of this process among the ranks of a run, as its launcher says it: torchrun, or Slurm's srun."""

import ctypes
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError

PR_SET_PDEATHSIG = 1  # of prctl
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"  # the interface through which ranks of one host talk


@dataclass(frozen=True)
class Place:
    """The number of this process among all ranks, and among those of its host; and where the ranks meet.

    `serves` is True on the rank that opens the port, and `speaks` on the one that tells the user of its host that ranks of
    another host are gone.
    """

    rank: int
    world: int
    local_rank: int
    address: str
    port: int
    serves: bool = False
    speaks: bool = False


def place(environ: Mapping[str, str] = os.environ) -> Place | None:
    """The place of this process; None for a process that no launcher has started."""
    if "TORCHELASTIC_RUN_ID" in environ:
        return _of_torchrun(environ)
    if int(environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1 and "SLURM_PROCID" in environ:
        return _of_slurm(environ)
    return None


def _of_torchrun(environ: Mapping[str, str]) -> Place:
    rank, world, local = (int(environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    serves = rank == 0 and environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return Place(
        rank,
        world,
        local,
        environ["MASTER_ADDR"],
        int(environ["MASTER_PORT"]),
        serves,
        local == 0 and int(environ.get("LOCAL_WORLD_SIZE", world)) < world,
    )


def _of_slurm(environ: Mapping[str, str]) -> Place:
    """The place in a job step of srun. The ranks meet on its first host, at a port that the job and the step decide."""
    job, step = int(environ.get("SLURM_JOB_ID", 0)), int(environ.get("SLURM_STEP_ID", 0))
    rank, local = int(environ["SLURM_PROCID"]), int(environ.get("SLURM_LOCALID", 0))
    port = int(environ.get("MASTER_PORT") or 20_000 + (job * 31 + step) % 20_000)
    return Place(
        rank,
        int(environ["SLURM_STEP_NUM_TASKS"]),
        local,
        environ.get("MASTER_ADDR") or first_host(environ.get("SLURM_STEP_NODELIST", "")),
        port,
        rank == 0,
        local == 0 and int(environ.get("SLURM_STEP_NUM_NODES") or 1) > 1,
    )


def end_with_launcher() -> None:
    """Let the kernel end this process when the torchrun that started it is killed: else it would train on, and keep its folder."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent()


def end_with_parent(parent: int | None = None) -> None:
    """Let the kernel end this process when the one that started it is killed. `parent` is its number: it may have been killed
    while this process was imported."""
    parent = parent or os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before
            os.kill(os.getpid(), signal.SIGKILL)


def first_host(nodes: str) -> str:
    """Return the first host of a list as Slurm writes it: "node[03-07,9],other" is node03."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        raise UsageError(f"SLURM_STEP_NODELIST={nodes}: no host in it; set MASTER_ADDR to the host of the first rank")
    return "".join(part or "" for part in match.groups())
