"""The place of this process among the ranks of a run, as its launcher says it: torchrun, or Slurm's srun."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UsageError


@dataclass(frozen=True)
class Place:
    """The number of this process among all ranks, and among those of its host; and where the ranks meet.

    `attempt` differs between two starts by the same launcher. `serves` is True on the rank that opens the port.
    """

    rank: int
    world: int
    local_rank: int
    address: str
    port: int
    attempt: str = "0"
    serves: bool = False


def place(environ: Mapping[str, str] = os.environ) -> Place | None:
    """The place of this process; None for a process that no launcher has started."""
    if "TORCHELASTIC_RUN_ID" in environ:
        return _of_torchrun(environ)
    if int(environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1 and "SLURM_PROCID" in environ:
        return _of_slurm(environ)
    return None


def _of_torchrun(environ: Mapping[str, str]) -> Place:
    rank, attempt = int(environ["RANK"]), environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    serves = rank == 0 and environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    return Place(
        rank,
        int(environ["WORLD_SIZE"]),
        int(environ["LOCAL_RANK"]),
        environ["MASTER_ADDR"],
        int(environ["MASTER_PORT"]),
        attempt,
        serves,
    )


def _of_slurm(environ: Mapping[str, str]) -> Place:
    """The place in a job step of srun. The ranks meet on its first host, at a port that the job and the step decide."""
    job, step = int(environ.get("SLURM_JOB_ID", 0)), int(environ.get("SLURM_STEP_ID", 0))
    rank = int(environ["SLURM_PROCID"])
    port = int(environ.get("MASTER_PORT") or 20_000 + (job * 31 + step) % 20_000)
    return Place(
        rank,
        int(environ["SLURM_STEP_NUM_TASKS"]),
        int(environ.get("SLURM_LOCALID", 0)),
        environ.get("MASTER_ADDR") or first_host(environ.get("SLURM_STEP_NODELIST", "")),
        port,
        f"{job}.{step}.{environ.get('SLURM_RESTART_COUNT', 0)}",
        rank == 0,
    )


def first_host(nodes: str) -> str:
    """Return the first host of a list as Slurm writes it: "node[03-07,9],other" is node03."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        raise UsageError(f"SLURM_STEP_NODELIST={nodes}: no host in it; set MASTER_ADDR to the host of the first rank")
    return "".join(part or "" for part in match.groups())
