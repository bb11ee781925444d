"""Start the ranks of a run on this machine, by torch's elastic launcher, and show here what they report."""

import contextlib
import json
import logging
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Error, InterruptError, LostError, StoppedError, from_json
from ..files.integrity import write_json
from .call import Call
from .execution import logging_to
from .processes import rank_environment, shared_folder
from .rank_reports import shown_here
from .run_plan import RunPlan

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

GRACE = 600  # seconds that a rank has to save its training after a signal
CALL, OUTCOME = "call.json", "outcome-{}.json"  # files by which the launcher and the ranks talk
LAUNCHER = "torch.distributed.elastic"  # the beginning of the names of its loggers
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def launch(
    run_plan: RunPlan, changes: str, call: Call, options: Mapping[str, Any], ranks: int
) -> tuple[list[str], bool]:
    """Do a run that was begun in so many processes; return the stages that were done, and True if all are.

    Raises the error of the rank that failed first.
    """
    with shared_folder() as folder:
        asked = {**asdict(call), "folder": str(call.folder.absolute()), "changes": changes, "options": dict(options)}
        write_json(folder / CALL, asked)
        with logging_to(run_plan), shown_here(folder, ranks):
            ended = _start(folder, ranks, run_plan.machine.compute_threads)
        return _outcome(folder, ranks, ended)


def _start(folder: Path, ranks: int, threads: int) -> str:
    """Start the ranks, and wait until all have ended. Return how the first one was ended, if it was not by itself."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    command = ["-m", "divcon.api.rank_process", str(folder)]
    with _quiet_launcher(), _handlers_kept(), rank_environment(threads):
        try:
            elastic_launch(_config(folder, ranks), sys.executable)(*command)
        except SignalException as stopped:
            return signal.Signals(stopped.sigval).name
        except ChildFailedError as failed:
            rank, failure = failed.get_first_failure()
            if failure.exitcode < 0:
                return f"rank {rank} was ended by {signal.Signals(-failure.exitcode).name}"
    return ""


def _config(folder: Path, ranks: int) -> "LaunchConfig":
    """The ranks meet in a file: no port is open to other users or machines."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=folder.name,
        rdzv_backend="c10d",
        rdzv_endpoint=str(folder / "rendezvous"),
        rdzv_configs={"store_type": "file"},
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        signals_to_handle=",".join(number.name for number in STOPS),
        shutdown_timeout=GRACE,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
    )


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore the handlers of signals after the block: the launcher sets its own."""
    before = {number: signal.getsignal(number) for number in STOPS}
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # in another thread than the main one the launcher sets none
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _quiet_launcher() -> Iterator[None]:
    """Silence the launcher's own log while the block runs: the ranks say themselves what has happened."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(LAUNCHER)]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before):
            logger.disabled = disabled


def _outcome(folder: Path, ranks: int, ended: str) -> tuple[list[str], bool]:
    """Return the answer of the first rank, or raise the error that ended the run."""
    outcomes = [
        json.loads(path.read_text()) for rank in range(ranks) if (path := folder / OUTCOME.format(rank)).exists()
    ]
    errors = [from_json(outcome) for outcome in outcomes if "error" in outcome and not outcome["told"]]
    stopped = [error for error in errors if isinstance(error, StoppedError | InterruptError)]
    own = [error for error in errors if error not in stopped]
    if own:
        raise own[0]
    if ended in {number.name for number in STOPS} and not (outcomes and outcomes[0].get("done")):  # it came too late
        raise stopped[0] if stopped else _stopped(ended)
    if ended.startswith("rank"):  # the launcher then stops the others
        raise LostError(f"{ended}; type the same command again to go on")
    if stopped:
        raise stopped[0]
    if not outcomes or "error" in outcomes[0]:
        raise LostError("a rank ended without a word; type the same command again to go on")
    return outcomes[0]["did"], outcomes[0]["done"]


def _stopped(by: str) -> Error | InterruptError:
    kind = InterruptError if by == "SIGINT" else StoppedError
    return kind(f"stopped by {by}: what was saved is kept; type the same command again to go on")
