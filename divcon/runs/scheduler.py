"""The place of this process in a job of a scheduler, and what that says about an earlier process of the same job."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ..config import validate_fields
from ..errors import UsageError

POD, JOB, INDEX = "DIVCON_POD_UID", "DIVCON_JOB_UID", "JOB_COMPLETION_INDEX"


@dataclass(frozen=True)
class ScheduledJob:
    """A job that the scheduler begins again under the same name.

    `name` is the same in each attempt. `restarts` counts the attempts of a Slurm job; `pod` is the attempt of a Kubernetes job.
    Both are needed to say that an earlier attempt is over.
    """

    name: str
    restarts: int | None = None
    pod: str | None = None

    @classmethod
    def of(cls, content: object) -> Self | None:
        """Return the job that a lock names, or None if it names none."""
        try:
            return validate_fields(cls, content) if isinstance(content, dict) else None
        except UsageError:
            return None

    def is_over(self, current: "ScheduledJob | None", *, same_container: bool) -> bool:
        """Return True if the scheduler began `current` only after this attempt had ended."""
        if current is None or current.name != self.name:
            return False
        if self.restarts is not None and current.restarts is not None:
            return current.restarts > self.restarts
        if self.pod is None or current.pod is None:
            return False
        return self.pod != current.pod or not same_container


def current_job(environment: Mapping[str, str] = os.environ) -> ScheduledJob | None:
    """Return the job of Slurm or Kubernetes that this process belongs to; None if it belongs to none."""
    return _slurm_job(environment) or _kubernetes_job(environment)


def _slurm_job(environment: Mapping[str, str]) -> ScheduledJob | None:
    """Each task of an array has a job number of its own. Slurm sets the count only for a job that was begun again."""
    number, restarts = environment.get("SLURM_JOB_ID", ""), environment.get("SLURM_RESTART_COUNT", "0")
    if not number.isdecimal() or not restarts.isdecimal():
        return None
    cluster, task = environment.get("SLURM_CLUSTER_NAME", ""), environment.get("SLURM_ARRAY_TASK_ID", "")
    return ScheduledJob(f"slurm {cluster} {number} {task}", restarts=int(restarts))


def _kubernetes_job(environment: Mapping[str, str]) -> ScheduledJob | None:
    """Kubernetes tells a process its index, and nothing else: the file of the job must hand down the other two.

    Without DIVCON_JOB_UID only a container that was begun again in the same pod is known.
    """
    pod, job, index = (environment.get(name, "") for name in (POD, JOB, INDEX))
    if not pod:
        return None
    return ScheduledJob(f"kubernetes job {job} {index}" if job and index else f"kubernetes pod {pod}", pod=pod)
