"""`python -m studies NAME [draw] [jobs=2] [key=value ...]`

Each run of the study that has no row yet is done in a process of its own: one thread, niced, `jobs` of them at a time. Type the
same command to go on where it was stopped, or in a second terminal to help.

    jobs=2           processes at a time
    part=validation  the images to be scored by; test, once, at the end
    only=PATTERN     only runs with such names, as a shell writes patterns
    runs=FOLDER      where runs are (runs/studies)
    rows=FOLDER      where rows are (studies/rows)
    page=FILE        what draw writes (docs/results/NAME.md)
    cache=FOLDER     collections and their pixels (DIVCON_CACHE, else ~/.cache/divcon)

Any other option is one of `divcon run`, for every run of the study, to try something small: epochs=1 limit=600.
"""

import fnmatch
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from divcon.config import option_names, parse_options, unknown_name
from divcon.errors import Error, UsageError
from divcon.files.atomic import write_text
from divcon.files.caches import cache_folder
from divcon.runs import owner

from . import draw, here, table
from .rows import Rows
from .table import BUSY, PARTS, Run, Study
from .watch import MARK

STOPPED = 75  # as a command of divcon ends that was told to stop
PAUSE = 10.0  # seconds, where little is left that is not being done by others
LATER = 4  # runs that are tried before one that others are busy with is tried again
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
DEFAULTS: dict[str, Any] = {
    "jobs": 2, "part": "validation", "only": "*", "runs": here.ROOT / "runs" / "studies",
    "rows": here.ROOT / "studies" / "rows", "page": None, "cache": None,
}  # fmt: skip


def main(words: Sequence[str]) -> None:
    if not words or "=" in words[0]:
        sys.exit("\n".join([f"{__doc__}", *(f"{name}: {table.about(name)}" for name in table.names())]))
    try:
        drawing = list(words[1:2]) == ["draw"]
        asked = Asked.of(words[0], parse_options(words[2:] if drawing else words[1:]))
        if drawing:
            asked.draw()
        else:
            sys.exit(asked.do())
    except Error as error:
        sys.exit(f"{error}")


@dataclass(frozen=True)
class Asked:
    """A study as it was asked for."""

    name: str  # as it was typed, for the processes
    study: Study
    options: Mapping[str, Any]
    changes: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, pairs: Mapping[str, Any]) -> "Asked":
        options = {**DEFAULTS, **{key: value for key, value in pairs.items() if key in DEFAULTS}}
        changes = {key: value for key, value in pairs.items() if key not in DEFAULTS}
        if options["part"] not in PARTS:
            raise UsageError(f"part={options['part']}: there is {', '.join(PARTS)}")
        if not isinstance(options["jobs"], int) or options["jobs"] < 1:
            raise UsageError(f"jobs={options['jobs']}: a number of processes, at least 1")
        if changes:
            refuse_unknown(changes)
        return cls(name, table.load(name).with_options(changes), options, changes)

    @property
    def rows(self) -> Path:
        return Path(self.options["rows"]).absolute() / self.study.name

    def draw(self) -> None:
        """The page; of runs with other options only where a page is named."""
        if self.changes and self.options["page"] is None:
            raise UsageError(
                f"{', '.join(self.changes)}: these are other runs than the study's; name a page=FILE for them"
            )
        page = Path(self.options["page"] or here.ROOT / "docs" / "results" / f"{self.study.name}.md")
        rows = Rows.read(self.rows)
        for wrong in rows.wrong:
            sys.stderr.write(f"left out: {wrong}\n")
        write_text(page, draw.page(self.study, rows.rows, self.changes))

    def do(self) -> str | int:
        """0, or in words: the runs that failed."""
        runs = [run for run in self.study.runs if fnmatch.fnmatchcase(run.name, str(self.options["only"]))]
        if not runs:
            raise UsageError(f"only={self.options['only']}: no run has such a name; one is {self.study.runs[0].name}")
        done = Rows.read(self.rows)
        part, code, processor = self.options["part"], here.code(), here.processor()["id"]
        left = [run for run in runs if not done.has(run, part, code, processor)]
        _say(f"{self.study.name}: {len(left)} of {len(runs)} runs to do, code {code}, on {processor}")
        if here.commit()["dirty"]:
            _say("the code has changes that are not committed: rows will be marked so")
        with Children() as children:
            failed = done_of(left, int(self.options["jobs"]), lambda run: self.code_of(run, children))
        if children.stopping:
            return "stopped; type the same command to go on"
        return f"failed: {', '.join(run.name for run in failed)}" if failed else 0

    def code_of(self, run: Run, children: "Children") -> int:
        """No process is begun for what is seen to be another's."""
        folder = here.folder(Path(self.options["runs"]).absolute()) / self.study.name / run.name
        if not children.stopping and owner.owner_of(folder):
            return BUSY
        return children.code_of(self.command(run), run)

    def command(self, run: Run) -> list[str]:
        """This program again, for one run."""
        places = [str(Path(self.options["runs"]).absolute()), str(self.rows), str(cache_folder(self.options["cache"]))]
        changes = [f"{key}={_typed(value)}" for key, value in self.changes.items()]
        return [
            sys.executable, "-m", "studies.instrument.one", self.name, run.name, *places, str(self.options["part"]), *changes,
        ]  # fmt: skip


def refuse_unknown(changes: Mapping[str, Any]) -> None:
    """UsageError for an option that no run has, or for a wrong value, which else each run would refuse, one after another."""
    # here: they import torch, which a runner without changes has no need of
    from divcon.api import behavior, run_options
    from divcon.recipes import Options

    known = [*DEFAULTS, *option_names(Options), *behavior.BEHAVIOR]
    for name in changes:
        if "." not in name and name not in known:
            raise UsageError(unknown_name("option", name, sorted(known)))
    behavior.behavior_of(changes)
    run_options.sorted_out(behavior.recipe_options(changes))


def _typed(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def done_of(runs: Sequence[Run], jobs: int, do: Callable[[Run], int]) -> list[Run]:
    """Do all, in their order; what others are busy with comes again a little later. The runs that failed."""
    waiting, failed = deque(runs), list[Run]()

    def work() -> None:
        while True:
            try:
                run = waiting.popleft()
            except IndexError:
                return
            code = do(run)
            if code == BUSY:
                time.sleep(PAUSE if len(waiting) < LATER else 0)
                waiting.insert(LATER, run)
            elif code:
                failed.append(run)

    with ThreadPoolExecutor(jobs) as side_by_side:
        for worker in [side_by_side.submit(work) for _ in range(jobs)]:
            worker.result()
    return failed


@dataclass
class Children:
    """The processes of runs. Told to stop, they are told so too, and no other is begun."""

    live: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    stopping: bool = False

    def code_of(self, command: Sequence[str], run: Run) -> int:
        if self.stopping:
            return STOPPED
        begun = time.monotonic()
        child = subprocess.Popen(command, env={**os.environ, **ONE_THREAD, MARK: run.name}, cwd=here.ROOT)
        self.live[child.pid] = child
        if self.stopping:
            child.terminate()
        code = child.wait()
        del self.live[child.pid]
        if code != BUSY and not self.stopping:
            _say(f"{run.name}: {'done' if code == 0 else f'failed ({code})'} after {time.monotonic() - begun:,.0f} s")
        return code

    def stop(self, number: int, frame: object) -> None:
        self.stopping = True
        for child in list(self.live.values()):
            child.terminate()

    def __enter__(self) -> "Children":
        self.before = {number: signal.signal(number, self.stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
