"""The one training loop: base, experts, student and classifiers all run through it. It knows no method."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from .. import dist, failpoints
from ..data.loader import Loader, ViewBatch
from ..data.pixels.pixels import Pixels
from ..data.sampler import Sampler
from ..data.views.view import View
from ..errors import DataError, UsageError
from ..machine import Machine
from ..methods.contract import Batch, Method, Outcome, Step
from ..nets.trained import InputSpec
from ..rng import seed_for
from ..runs.folder import StageFolder
from ..runs.stage import StageContext
from . import checkpoints
from .collapse import CollapseMonitor
from .encode import encode, to_input
from .metrics import Metrics, TrainingSummary
from .nonfinite import NonFiniteGuard
from .optimizers import Name, make_optimizer
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


def fit(
    context: StageContext,
    method: Method,
    pixels: Pixels,
    training: Training,
    pair: tuple[View, View],
    input_spec: InputSpec,
) -> TrainingSummary:
    """Train the method on the pictures, from its newest checkpoint if there is one, and note what it took."""
    machine, order = context.machine, Sampler(len(pixels), training.batch_size, training.seed)
    if len(pixels) < 2 or training.batch_size < 2:
        raise DataError(
            f"{context.name}: {len(pixels)} images are too few to train on; add images, or lower clusters.k"
        )
    if training.batch_size % dist.world_size():
        raise UsageError(
            f"{context.name}: a batch of {training.batch_size} can't be shared by {dist.world_size()} ranks alike"
        )
    steps = steps_for(training.images, training.batch_size)
    loader = Loader(
        pixels,
        order,
        method.views(pair),
        seed=training.seed,
        workers=machine.workers,
        rank=dist.rank(),
        world=dist.world_size(),
        ahead=machine.device != "cpu",
    )
    machine.to_device(method).train()
    if machine.compiled:
        method.compile()
    optimizer = make_optimizer(training.optimizer, method, training.weight_decay)
    first = checkpoints.load(StageFolder(context.folder).checkpoints, method, optimizer, context.key_digest)
    guard = NonFiniteGuard(optimizer, late=machine.device != "cpu")
    loader.resample(_sampling(method))
    loader.warm_up(first)
    checkpoint = functools.partial(_save, context, method, optimizer)
    course = Metrics(
        context, loader, first=first, steps=steps, batch_size=training.batch_size, save=checkpoint, settle=guard.settle
    )
    alarms = CollapseMonitor(context.name, method.advice, course.journal.kept, allow_collapse=context.allow_collapse)
    for step in range(first, steps):
        at = Step(step, steps, order.epoch(step))
        torch.manual_seed(seed_for(training.seed, "step", step))  # so that resuming needs no saved random state
        if order.begins_epoch(step):
            method.before_epoch(lambda layer: encode(method.net, input_spec, pixels, machine, layer=layer), at)
            _begin_anew(method, optimizer)
            loader.resample(_sampling(method))
        batch = as_batch(loader.batch(step), input_spec, machine)
        outcome = train_step(method, optimizer, batch, at, _rate(training, step, steps), machine, guard)
        method.after_step(outcome.update, at)
        failpoints.at("train.stepped")
        if course.logs(step):
            _log(course, alarms, outcome, at, lr=optimizer.param_groups[0]["lr"])
        course.after(step)
    return course.summary()


def _sampling(method: Method) -> NDArray[np.int64] | None:
    chosen = method.resampled_indices()
    return None if chosen is None else chosen.cpu().numpy()


def _begin_anew(method: Method, optimizer: torch.optim.Optimizer) -> None:
    for parameter in method.reset_parameters():
        optimizer.state.pop(parameter, None)


def train_step(
    method: Method,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    at: Step,
    lr: float,
    machine: Machine,
    guard: NonFiniteGuard | None = None,
) -> Outcome:
    """Forward, backward, and one move of the weights, unless something is not finite."""
    with machine.autocast():
        outcome: Outcome = method(batch, at)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(outcome.loss)
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    dist.all_mean(gradients)
    (guard or NonFiniteGuard(optimizer)).watch(outcome.loss, gradients, batch.index, at)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return outcome


def as_batch(shown: ViewBatch, input_spec: InputSpec, machine: Machine) -> Batch:
    views = [to_input(view, input_spec, machine) for view in shown.views]
    return Batch(views, torch.from_numpy(shown.positions).to(machine.device))


def _rate(training: Training, step: int, steps: int) -> float:
    peak = training.lr * training.batch_size / 256
    warmup = warmup_steps(training.warmup, training.images, training.batch_size)
    return learning_rate(step, steps, peak=peak, warmup=warmup, drops=training.drops)


def _save(context: StageContext, method: Method, optimizer: torch.optim.Optimizer, step: int) -> None:
    checkpoints.save(
        StageFolder(context.folder).checkpoints, step, method, optimizer, context.key_digest, context.check_owner
    )


def _log(course: Metrics, alarms: CollapseMonitor, outcome: Outcome, at: Step, lr: float) -> None:
    logs = {name: float(value) for name, value in outcome.logs.items()}
    more = {"epoch": at.epoch, "lr": lr, **logs, **alarms.watch(outcome, at)}
    course.log(at.step, float(outcome.loss.detach()), more)
    alarms.check(at)
