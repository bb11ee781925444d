"""The one training loop: base, experts, student and classifiers all run through it. It knows no method."""

import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from .. import dist, faults, signals
from ..artifacts import show, sync
from ..data.loader import Loader, Shown
from ..data.order import Order
from ..data.pixels import Pixels
from ..data.views import View
from ..errors import DataError, UsageError
from ..log import say, tick
from ..machine import Machine
from ..method import At, Batch, Method, Outcome
from ..nets.trained import Sight
from ..rng import seed_for
from ..runs import Work
from . import checkpoints
from .alarms import Alarms
from .guard import Guard
from .journal import Journal
from .looking import as_input, encode
from .optimisers import Name, optimiser
from .schedules import learning_rate, steps_for, warmup_steps


@dataclass(frozen=True)
class Training:
    """How long and how fast. `lr` is for a batch of 256 and grows with the batch; `warmup` is a share of the steps. It
    falls by a cosine, or, with `drops`, to a tenth at each of these shares of the training.

    `images` counts showings: passes over the collection times its size.
    """

    images: float
    batch_size: PositiveInt = 256
    optimizer: Name = "lars"
    lr: PositiveFloat = 0.3
    weight_decay: NonNegativeFloat = 1.5e-6
    warmup: NonNegativeFloat = 0.1
    drops: tuple[float, ...] | None = None
    seed: int = 0


def fit(work: Work, method: Method, pixels: Pixels, training: Training, pair: tuple[View, View], sight: Sight) -> None:
    """Train the method on the pictures, from its newest checkpoint if there is one, and note what it took."""
    machine, order = work.machine, Order(len(pixels), training.batch_size, training.seed)
    if len(pixels) < 2 or training.batch_size < 2:
        raise DataError(f"{work.name}: {len(pixels)} images are too few to train on; add images, or lower clusters.k")
    if training.batch_size % dist.world():
        raise UsageError(f"{work.name}: a batch of {training.batch_size} can't be shared by {dist.world()} ranks alike")
    steps = steps_for(training.images, training.batch_size)
    loader = Loader(
        pixels, order, method.views(pair), seed=training.seed, readers=machine.readers,
        rank=dist.rank(), world=dist.world(), ahead=machine.device != "cpu",
    )  # fmt: skip
    machine.put(method).train()
    if machine.compiled:
        method.compile()
    optimizer = optimiser(training.optimizer, method, training.weight_decay)
    first = checkpoints.load(work.folder / "checkpoints", method, optimizer, work.asked)
    guard = Guard(optimizer, late=machine.device != "cpu")
    loader.show(_sampling(method))
    loader.prepare(first)
    course = _Course(work, method, optimizer, guard, first, steps, training, loader)
    say(f"{work.name}: {steps:,} steps of {training.batch_size}" + (f", going on from step {first:,}" if first else ""))
    for step in range(first, steps):
        at = At(step, steps, order.epoch(step))
        torch.manual_seed(seed_for(training.seed, "step", step))  # so that resuming needs no saved random state
        if order.begins_epoch(step):
            method.before_epoch(lambda place: encode(method.net, sight, pixels, machine, place=place), at)
            _begin_anew(method, optimizer)
            loader.show(_sampling(method))
        batch = as_batch(loader.batch(step), sight, machine)
        outcome = train_step(method, optimizer, batch, at, _rate(training, step, steps), machine, guard)
        method.after_step(outcome.kept, at)
        faults.at("train.stepped")
        course.after(step, order.epoch(step), outcome)
    course.end()


def _sampling(method: Method) -> NDArray[np.int64] | None:
    chosen = method.sampling()
    return None if chosen is None else chosen.cpu().numpy()


def _begin_anew(method: Method, optimizer: torch.optim.Optimizer) -> None:
    for parameter in method.anew():
        optimizer.state.pop(parameter, None)


def train_step(
    method: Method, optimizer: torch.optim.Optimizer, batch: Batch, at: At, lr: float, machine: Machine,
    guard: Guard | None = None,
) -> Outcome:  # fmt: skip
    """Forward, backward, and one move of the weights, unless something is not finite."""
    with machine.autocast():
        outcome: Outcome = method(batch, at)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(outcome.loss)
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    dist.average(gradients)
    (guard or Guard(optimizer)).watch(outcome.loss, gradients, batch.index, at)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return outcome


def as_batch(shown: Shown, sight: Sight, machine: Machine) -> Batch:
    views = [as_input(view, sight, machine) for view in shown.views]
    return Batch(views, torch.from_numpy(shown.positions).to(machine.device))


def _rate(training: Training, step: int, steps: int) -> float:
    peak = training.lr * training.batch_size / 256
    warmup = warmup_steps(training.warmup, training.images, training.batch_size)
    return learning_rate(step, steps, peak=peak, warmup=warmup, drops=training.drops)


class _Course:
    """What happens around the steps: logging, saving, stopping, and the account in the end."""

    def __init__(
        self, work: Work, method: Method, optimizer: torch.optim.Optimizer, guard: Guard, first: int, steps: int,
        training: Training, loader: Loader,
    ):  # fmt: skip
        self.work, self.method, self.optimizer, self.guard = work, method, optimizer, guard
        self.training, self.loader = training, loader
        self.first, self.steps = first, steps
        self.every = max(1, steps // 200)
        self.journal = Journal(work.folder / "metrics.jsonl", first)
        self.alarms = Alarms(work.name, method.mend, self.journal.kept, allow_collapse=work.allow_collapse)
        self.begun = self.saved = time.monotonic()
        self.loss: float | None = self.journal.last.get("loss")

    def after(self, step: int, epoch: int, outcome: Outcome) -> None:
        last = step + 1 == self.steps
        if step % self.every == 0 or last:
            self._log(At(step, self.steps, epoch), outcome)
        stop = dist.any_rank(signals.asked())
        if stop or last or self._due():
            self.guard.settle()
            dist.first_alone(lambda: self._save(step + 1))
        if stop and not last:
            signals.stop_here(f"{show(self.work.name)} is saved at step {step + 1:,} of {self.steps:,}")

    def end(self) -> None:
        self.work.notes |= {
            "steps": self.steps, "batch_size": self.training.batch_size, "images_seen": self.steps * self.training.batch_size,
            "loss": self.loss, "peak_rss_mb": peak_rss_mb(), **self._last_rates(),
        }  # fmt: skip

    def _last_rates(self) -> dict[str, float | None]:
        """Of this process; where it had no step left to do, of the one before."""
        if self.first < self.steps:
            return {**self._rates(self.steps)}
        return {name: self.journal.last.get(name) for name in ("images_per_second", "data_wait")}

    def _due(self) -> bool:
        return dist.any_rank(time.monotonic() - self.saved >= self.work.save_every)

    def _save(self, step: int) -> None:
        self.work.mine()
        sync(self.journal.path)
        work = self.work
        checkpoints.save(work.folder / "checkpoints", step, self.method, self.optimizer, work.asked, work.mine)
        self.work.write_state("running")
        self.saved = time.monotonic()

    def _log(self, at: At, outcome: Outcome) -> None:
        rates = self._rates(at.step + 1)
        self.loss = loss = float(outcome.loss.detach())
        lr = self.optimizer.param_groups[0]["lr"]
        line: dict[str, Any] = {"step": at.step, "epoch": at.epoch, "loss": self.loss, "lr": lr, **rates}
        line |= {name: float(value) for name, value in outcome.logs.items()} | self.alarms.watch(outcome, at)
        line |= {"steps": self.steps, "batch_size": self.training.batch_size}
        if dist.rank() == 0:
            self.work.mine()
            self.journal.write(line)
            faults.at("train.logged")
        note = f"loss {loss:.3f}, {rates['images_per_second']:,.0f} images/s, {rates['data_wait']:.1%} waiting for data"
        tick(self.work.name, at.step + 1, self.steps, "steps", note)
        self.alarms.check(at)

    def _rates(self, done: int) -> dict[str, float]:
        seconds = max(time.monotonic() - self.begun, 1e-9)
        seen = (done - self.first) * self.training.batch_size
        return {"images_per_second": round(seen / seconds, 1), "data_wait": round(self.loader.waited / seconds, 4)}


def peak_rss_mb() -> float:
    """The most memory this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
