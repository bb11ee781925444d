"""The choice of the settings of a run, from what is asked for and what the machine has."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError
from ..ranks import place
from .measurement import Measurement, stored_measurement
from .settings import Machine, Precision

if TYPE_CHECKING:
    import torch

AutoBool = bool | Literal["auto"]


def available_cores() -> int:
    """The number of cores this process may use, or OMP_NUM_THREADS if that is less (torchrun sets it)."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(own, int(limit)) if limit.isdigit() and int(limit) else own


def default_workers(device: str) -> int:
    """The threads that decode and make views; half of the cores stay free for what a GPU needs (docs/performance.md)."""
    return available_cores() if device == "cpu" else max(1, available_cores() // 2)


def choose(
    cache: Path,
    *,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    channels_last: AutoBool = "auto",
    fast_small_maps: bool = True,
    compiled: bool = False,
    workers: int | None = None,
    keep_memory: bool = True,
    ranks: int | Literal["auto"] | None = None,
    expert_ranks: int = 1,
) -> Machine:
    """Return a machine with these settings; "auto" takes the fastest by a measurement, which is stored in the cache folder.

    `ranks` None is one. Raises UsageError if the device, or torch.compile, can't be used.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    if compiled:
        _check_compile(device)
    asked: Measurement | None = None if precision == "auto" else {"precision": precision, "channels_last": True}
    fastest_here = asked or stored_measurement(cache, device)
    processes = ranks if isinstance(ranks, int) else 1
    each = available_cores() if place() else max(1, available_cores() // processes)
    return Machine(
        device,
        fastest_here["precision"],
        fastest_here["channels_last"] if channels_last == "auto" else channels_last,
        each,
        workers or default_workers(device),
        fast_small_maps,
        compiled,
        keep_memory,
        processes,
        min(expert_ranks, processes),
    )


def check_device(device: "str | torch.device", advice: str = "device=auto takes what there is") -> None:
    """Raise UsageError, with advice, for a device that can't be used."""
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device={device} can't be used here: {reason[:120]}; {advice}") from None


def _check_compile(device: str) -> None:
    """Raise UsageError if torch.compile fails."""
    import torch

    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"compiled=true: torch.compile fails here: {reason[:120]}; leave it out, or install a C++ compiler"
        ) from None
