"""One of the processes in which a plan tries the stages of a run: `python -m divcon.api.trial_process FOLDER PARENT RANK`."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import FileStore

from .. import dist, host_settings
from ..config import to_json_value, validate_fields
from ..data.images import open_indexed_images
from ..errors import to_json
from ..files.caches import cache_folder
from ..files.integrity import read_json, write_json
from ..known_errors import known_error
from ..machine import Machine
from ..ranks import Place, end_with_parent
from .behavior import behavior_of
from .run_plan import prepare_run
from .trial import Amount
from .trials import ANSWER, CALL, Trials, try_stages


def main(folder: Path, parent: int, rank: int) -> int:
    """Try the stages as one rank, and write the answer or the error. Return the exit code."""
    end_with_parent(parent)
    try:
        with host_settings.set_aside():
            answer, code = to_json_value(_tried(folder, rank)), 0
    except Exception as error:
        known = known_error(error)
        answer, code = to_json(known), known.code
    write_json(folder / ANSWER.format(rank), answer)
    return code


def _tried(folder: Path, rank: int) -> Trials:
    call: dict[str, Any] = read_json(folder / CALL)
    machine = validate_fields(Machine, call["machine"])
    images = open_indexed_images(call["data"], folder / "images", cache_folder(behavior_of(call["options"]).cache))
    run_plan = prepare_run(call["data"], call["out"], {**call["options"], "ranks": machine.ranks}, indexed=images)
    run_plan = replace(run_plan, machine=machine)
    with dist.joined(FileStore(str(folder / "store"), machine.ranks), Place(rank, machine.ranks, rank, "", 0)):
        start = Amount(time.time() - call["begin"], machine.ranks * time.process_time())
        return replace(try_stages(run_plan, call["groups"]), start=start)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.flush()
    os._exit(code)  # threads of torch may wait for a rank that is gone
