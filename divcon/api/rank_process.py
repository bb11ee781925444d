"""A process that `launching.py` has started: one rank of a run. `python -m divcon.api.rank_process FOLDER`."""

import sys
import traceback
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import FileStore

from .. import dist, host_settings, signals
from ..errors import InterruptError, to_json, was_told
from ..files.integrity import read_json, write_json
from ..known_errors import known_error
from ..ranks import end_with_launcher, place
from .call import Call
from .execution import execute
from .launching import CALL, OUTCOME
from .rank_reports import reporting_to
from .run_plan import follow


def main(folder: Path) -> int:
    """Do the run that the folder's call asks for, as one of its ranks, and write there how it ended. Return the exit code."""
    end_with_launcher()
    at = place()
    assert at is not None, "this process is started by divcon run ranks=N"
    outcome, code = _outcome(folder, at.world)
    write_json(folder / OUTCOME.format(at.rank), outcome)
    return code


def _outcome(folder: Path, world: int) -> tuple[dict[str, Any], int]:
    """The answer of the run, or its error, as JSON; and the exit code."""
    try:
        store = FileStore(str(folder / "store"), world)
        with (
            host_settings.set_aside(),
            signals.deferred_signals(),
            reporting_to(folder),
            dist.joined(store),
        ):
            did, done = _run(read_json(folder / CALL))
        return {"did": did, "done": done}, 0
    except (Exception, InterruptError) as error:
        known = error if isinstance(error, InterruptError) else known_error(error)
        if known is not error:
            traceback.print_exc()
        return {**to_json(known), "told": was_told(error)}, known.code


def _run(asked: dict[str, Any]) -> tuple[list[str], bool]:
    call = Call(Path(asked["folder"]), asked["only"], asked["steal_lock"], asked["allow_collapse"])
    return execute(follow(call.folder, asked["options"]), asked["changes"], call)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
