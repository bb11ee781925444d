"""The slots of a GPU and the processes beside it, and the trainings that wait for them."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from divcon.methods.contract import Method
from divcon.methods.settings import SMALL_WEIGHT_DECAY
from divcon.recipes import batch_for

from . import workers
from .piles import At, Pile
from .slots import Slot, Training
from .student import Student, Targets, Weights
from .views import ViewPool
from .ways import MOST_EXPERTS, Trained, new_moclr, new_student

T = TypeVar("T")
MOST_PASSES = 480  # of a training
IDLE = 0.0005  # seconds


@dataclass(frozen=True)
class Kind:
    """The trainings that one recorded step can do."""

    method: str  # moclr, or student
    at: At
    width: int


Job = tuple[int, Training, asyncio.Future[Slot]]


@dataclass
class Lab:
    """Keeps a GPU at work: `slots` of each kind do the jobs that wait, those of a low order first."""

    piles: dict[At, Pile]
    pools: dict[At, ViewPool]
    processes: ProcessPoolExecutor
    out: Path
    bf16: bool = False
    at_once: int | None = None  # jobs of all kinds together; without it every slot works
    about: dict[str, Any] = field(default_factory=dict)  # the machine, for every row
    slots: dict[Kind, list[Slot]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[Kind, list[Job]] = field(default_factory=lambda: defaultdict(list))
    busy: dict[int, asyncio.Future[Slot]] = field(default_factory=dict)  # by id of the slot
    known: dict[Any, asyncio.Task[Any]] = field(default_factory=dict)
    ready: dict[At, asyncio.Task[None]] = field(default_factory=dict)  # the views of each collection
    shown: int = 0

    async def pump(self) -> None:
        """Keep every slot at work; it never ends by itself."""
        while True:
            moved = [self._turn(kind, slot) for kind, slots in list(self.slots.items()) for slot in slots]
            await asyncio.sleep(0 if any(moved) else IDLE)

    def _turn(self, kind: Kind, slot: Slot) -> bool:
        """Begin a job, or some steps of one; whoever waits for an ended job frees the slot. True where something was begun."""
        running = self.busy.get(id(slot))
        if running is None:
            return self._begin(kind, slot)
        if slot.go_on():
            return True
        if slot.ended() and not running.done():
            running.set_result(slot)
        return False

    def _begin(self, kind: Kind, slot: Slot) -> bool:
        jobs = self.waiting[kind]
        jobs.sort(key=lambda job: job[0])
        if not jobs or (self.at_once and (len(self.busy) >= self.at_once or jobs[0][0] > self._next())):
            return False
        _, training, self.busy[id(slot)] = jobs.pop(0)
        slot.begin(training)
        return True

    def _next(self) -> int:
        """The lowest order of all jobs that wait."""
        return min(job[0] for jobs in self.waiting.values() for job in jobs)

    async def train(self, kind: Kind, training: Training, order: int) -> Trained:
        """Do a training, when a slot is free and nothing of a lower order waits."""
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self.waiting[kind].append((order, training, future))
        slot = await future
        self.shown += training.rows.numel()
        pool, hidden = (features.numpy() for features in slot.features())
        found = Trained(slot.state(), pool, hidden, slot.last_loss())
        del self.busy[id(slot)]
        return found

    async def record(self, kind: Kind, count: int, graph: bool) -> None:
        """Have so many slots of a kind. To record a step takes a second or two, in which the others go on with what they have."""
        n = len(self.piles[kind.at])
        steps = round(MOST_PASSES * n / batch_for(n)) + 2
        while len(self.slots[kind]) < count:
            method: Method = new_moclr(kind.width, 0) if kind.method == "moclr" else _some_student(n, kind.width)
            self.slots[kind].append(
                Slot(method, self.pools[kind.at], batch_for(n), steps, SMALL_WEIGHT_DECAY, graph, self.bf16)
            )
            await asyncio.sleep(0)

    async def render(self, at: At, scratch: Path) -> None:
        """Make the views of a collection, each epoch in a process."""
        pool = self.pools[at]

        async def one(epoch: int) -> None:
            file = scratch / f"{at[0]}-{at[1]}-{epoch}.npy"
            await self.work(workers.views, at, epoch, str(file))
            pool.put(epoch, np.load(file))
            file.unlink()

        await asyncio.gather(*(one(epoch) for epoch in range(-1, pool.epochs)))

    async def work(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in a process."""
        return await asyncio.get_running_loop().run_in_executor(self.processes, function, *args)

    def once(self, key: Any, make: Callable[[], Coroutine[Any, Any, T]]) -> Awaitable[T]:
        """The result of `make`, which is called for the first one that asks for this key. A key holds the networks that it is about,
        never their ids: an id is used again when a network is gone."""
        if key not in self.known:
            self.known[key] = asyncio.get_running_loop().create_task(make())
        return self.known[key]

    def write(self, row: dict[str, Any]) -> None:
        with self.out.open("a") as file:
            file.write(json.dumps(row | self.about) + "\n")


def _some_student(n: int, width: int) -> Student:
    return new_student(width, 0, Targets.empty(n, 1 + MOST_EXPERTS, 8 * width), Weights())
