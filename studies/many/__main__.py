"""`python -m studies.many pack NAME cache=FOLDER out=FOLDER [apart=1]` on a machine that has the collections, and
`python -m studies.many run FOLDER out=FILE [plan=ways] [seconds=520] [slots=4] [processes=14] [device=cuda]` on one with a GPU.

`run` trains and scores what the plan asks for, in its order, and writes a JSON line for each experiment that is done.
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
from pathlib import Path

import torch

from . import packing, page, plans, workers
from .lab import Kind, Lab
from .piles import unpack
from .search import experiment
from .views import ViewPool
from .ways import Spec

METHODS = ("moclr", "student")
SAY = 15.0  # seconds between two lines


def main(*words: str) -> None:
    typed = dict(word.split("=", 1) for word in words if "=" in word)
    match [word for word in words if "=" not in word]:
        case ["pack", name]:
            packing.pack_pile(name, Path(typed["cache"]), Path(typed["out"]), "apart" in typed)
        case ["run", folder]:
            run(Path(folder), Path(typed["out"]), typed)
        case ["draw"]:
            page.draw()
        case _:
            sys.exit(f"{__doc__}")


def run(folder: Path, out: Path, typed: dict[str, str]) -> None:
    """Unpack the collections, fork the processes before the GPU is touched, and do the experiments."""
    begin, count = time.monotonic(), int(typed.get("processes", 14))
    specs = plans.PLANS[typed.get("plan", "ways")]()
    packed = {file.stem: unpack(file) for file in sorted(folder.glob("*.npz"))}
    piles = {name: plans.composed(name, packed) for name in dict.fromkeys(spec.pile for spec in specs)}
    workers.piles.update(piles)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(count, context, workers.begin) as processes, tempfile.TemporaryDirectory() as scratch:
        list(processes.map(workers.wait, range(count)))
        lab = Lab(piles, {}, processes, out)
        asyncio.run(everything(lab, specs, begin, Path(scratch), typed))
        processes.shutdown(wait=False, cancel_futures=True)


async def everything(lab: Lab, specs: Sequence[Spec], begin: float, scratch: Path, typed: dict[str, str]) -> None:
    """Do the experiments until the time is over. Slots of a kind are recorded in the order in which they are needed."""
    device, deadline = typed.get("device", "cuda"), begin + float(typed.get("seconds", 520))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    lab.about = about(device)
    lab.pools = {name: ViewPool.empty(len(pile), plans.EPOCHS[name], device) for name, pile in lab.piles.items()}
    lab.ready = {name: asyncio.create_task(lab.render(name, scratch)) for name in lab.piles}
    pump = asyncio.create_task(lab.pump())
    tasks = [asyncio.create_task(experiment(lab, spec, order)) for order, spec in enumerate(specs)]
    for pile, width in dict.fromkeys((spec.pile, spec.width) for spec in specs):
        for method in METHODS:
            await lab.record(Kind(method, pile, width), int(typed.get("slots", 4)), device == "cuda")
    await watched(lab, tasks, pump, begin, deadline)
    for task in (pump, *tasks, *lab.known.values()):
        task.cancel()


def about(device: str) -> dict[str, str]:
    """The machine and the day, for every row."""
    name = torch.cuda.get_device_name() if device == "cuda" else device
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
