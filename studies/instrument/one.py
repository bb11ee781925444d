"""The process of one run: `python -m studies.instrument.one STUDY RUN RUNS ROWS CACHE PART [key=value ...]`, as the runner
types it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

NICE = 15


def main(words: Sequence[str]) -> None:
    os.nice(max(0, NICE - os.nice(0)))
    from divcon.config import parse_options

    from . import job, table

    name, wanted, runs, rows, cache, part, *changes = words
    study = table.load(name).with_options(parse_options(changes))
    (run,) = [run for run in study.runs if run.name == wanted]
    sys.exit(job.ended(study, run, job.Place(Path(runs), Path(rows), Path(cache), part)))


if __name__ == "__main__":
    main(sys.argv[1:])
