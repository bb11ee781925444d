"""`python -m studies.many pack NAME cache=FOLDER out=FOLDER [apart=1]` on a machine that has the collections, and
`python -m studies.many run FOLDER out=FILE [plan=ways] [seed=0] [seconds=520] [slots=4] [processes=14] [device=cuda] [precision=bf16]`
on one with a GPU.

`pack` writes FOLDER/NAME.npz; with `apart=1`, a file for each source of a collection. `run` takes the packed collections of FOLDER:
the plan `ways` needs openclipart, emoji and fashion, `longer` heap too. It trains and scores what the plan asks for, in its order, and
adds a JSON line to FILE for each experiment that is done. The same command goes on where it was stopped. `seed=` leaves other
seeds to other processes.

The plans `short` (openclipart, fashion), `small` (openclipart, heap) and `long` (emoji) are for processors, a process and a seed for each core:
`OMP_NUM_THREADS=1 python -m studies.many run FOLDER out=FILE plan=short seed=0 device=cpu slots=1 processes=1 seconds=4000`

`python -m studies.many draw` writes docs/results/ways.md from the rows.
"""

import asyncio
import datetime
import multiprocessing
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from divcon.config import parse_options, unknown_name, validate_fields
from divcon.errors import Error, UsageError
from divcon.files.text import printable

from ..instrument import here
from . import packing, page, plans, workers
from .lab import Kind, Lab
from .piles import shrunk, unpack
from .search import experiment
from .views import ViewPool
from .ways import Spec

T = TypeVar("T")
METHODS = ("moclr", "student")
SAY = 15.0  # seconds between two lines


@dataclass(frozen=True, kw_only=True)
class Packing:
    """The options of `pack`."""

    cache: Path
    out: Path
    apart: bool = False  # a file for each source


@dataclass(frozen=True, kw_only=True)
class Search:
    """The options of `run`."""

    out: Path
    plan: str = "ways"
    seed: NonNegativeInt | None = None  # all
    seconds: PositiveFloat = 520.0
    slots: PositiveInt = 4
    processes: PositiveInt = 14
    device: Literal["cuda", "cpu"] = "cuda"
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        if self.plan not in plans.PLANS:
            raise UsageError(f"plan={printable(self.plan)}: {unknown_name('plan', self.plan, [*plans.PLANS])}")
        if not self.experiments():
            seeds = sorted({spec.seed for spec in plans.PLANS[self.plan]()})
            raise UsageError(f"seed={self.seed}: plan={self.plan} has the seeds {', '.join(map(str, seeds))}")

    def experiments(self) -> list[Spec]:
        """The experiments of the plan, with that seed."""
        return [spec for spec in plans.PLANS[self.plan]() if self.seed in (None, spec.seed)]


def main(*words: str) -> None:
    try:
        match [*words[:2], *([] if len(words) > 1 else [""])]:
            case ["pack", name] if name and "=" not in name:
                asked = checked(Packing, words[2:])
                packing.pack_pile(name, asked.cache, asked.out, asked.apart)
            case ["run", folder] if folder and "=" not in folder:
                run(Path(folder), checked(Search, words[2:]))
            case ["draw", ""]:
                page.draw()
            case _:
                sys.exit(f"{__doc__}")
    except Error as error:
        sys.exit(f"{error}")


def checked(kind: type[T], words: Sequence[str]) -> T:
    """Return the options as they were typed. UsageError for one that is missing, unknown or of another type."""
    options = parse_options(words)
    for field in fields(kind):  # type: ignore[arg-type]
        if field.default is MISSING and field.name not in options:
            raise UsageError(f"{field.name}= is missing\n\n{__doc__}")
    return validate_fields(kind, options)


def run(folder: Path, asked: Search) -> None:
    """Unpack the collections, fork the processes before the GPU is touched, and do the experiments that have no row yet."""
    begin = time.monotonic()
    specs = plans.to_do(asked.experiments(), plans.read(asked.out))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    packed = {file.stem: unpack(file) for file in sorted(folder.glob("*.npz"))}
    piles = {at: shrunk(plans.composed(at[0], packed), at[1]) for at in dict.fromkeys(spec.at for spec in specs)}
    workers.piles.update(piles)
    context = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(asked.processes, context, workers.begin) as processes,
        tempfile.TemporaryDirectory() as scratch,
    ):
        list(processes.map(workers.wait, range(asked.processes)))
        lab = Lab(piles, {}, processes, asked.out, asked.precision == "bf16", 1 if asked.device == "cpu" else None)
        done = asyncio.run(everything(lab, specs, begin, Path(scratch), asked))
        processes.shutdown(wait=False, cancel_futures=True)
    if specs and not done:
        sys.exit(f"no experiment was done in {asked.seconds:g} seconds; if none failed, give more seconds=")
    if done < len(specs):
        sys.exit(f"{done} of {len(specs)} experiments are done; to go on, type the same command again")


async def everything(lab: Lab, specs: Sequence[Spec], begin: float, scratch: Path, asked: Search) -> int:
    """Do the experiments until the time is over, and return how many are done. Slots of a kind are recorded in the order in which
    they are needed."""
    device, deadline = asked.device, begin + asked.seconds
    if device == "cuda" and not torch.cuda.is_available():  # not before the fork, which a look at the GPU would spoil
        raise UsageError("device=cuda: there is no GPU here; type device=cpu, with plan=trial or plan=small")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    lab.about = about(device) | {"precision": asked.precision}
    lab.pools = {at: ViewPool.empty(len(pile), plans.EPOCHS[at[0]], at[1], device) for at, pile in lab.piles.items()}
    lab.ready = {at: asyncio.create_task(lab.render(at, scratch)) for at in lab.piles}
    pump = asyncio.create_task(lab.pump())
    tasks = [asyncio.create_task(experiment(lab, spec, order)) for order, spec in enumerate(specs)]
    for at, width in dict.fromkeys((spec.at, spec.width) for spec in specs):
        for method in METHODS:
            await lab.record(Kind(method, at, width), asked.slots, device == "cuda")
    await watched(lab, tasks, pump, begin, deadline)
    done = sum(task.done() and not task.cancelled() and task.exception() is None for task in tasks)
    for task in (pump, *tasks, *lab.known.values()):
        task.cancel()
    return done


def about(device: str) -> dict[str, str]:
    """The machine and the day, for every row."""
    name = torch.cuda.get_device_name() if device == "cuda" else here.processor()["id"]
    return {"device": name, "torch": torch.__version__, "date": datetime.datetime.now(datetime.UTC).date().isoformat()}


async def watched(
    lab: Lab, tasks: Sequence[asyncio.Task[None]], pump: asyncio.Task[None], begin: float, deadline: float
) -> None:
    """Wait for the experiments, and say how far they are."""
    last, seen = time.monotonic(), 0
    while time.monotonic() < deadline and not all(task.done() for task in tasks) and not pump.done():
        await asyncio.sleep(0.05)
        if time.monotonic() - last > SAY:
            rate, last, seen = (lab.shown - seen) / (time.monotonic() - last), time.monotonic(), lab.shown
            done = sum(task.done() for task in tasks)
            say(f"{last - begin:.0f} s: {done} of {len(tasks)} done, {seen:,} images, {rate:,.0f} a second")
    for failed in [task for task in (pump, *tasks) if task.done() and not task.cancelled() and task.exception()][:1]:
        say("".join(traceback.format_exception(failed.exception())))


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
