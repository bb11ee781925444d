"""The training loop of base, experts, student and classifiers. It knows no method by name."""

import functools
from dataclasses import dataclass, field

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from .. import dist, failpoints
from ..config import LATER
from ..data.loader import Loader, ViewBatch
from ..data.pixels.pixels import Pixels
from ..data.sampler import Sampler
from ..data.views.view import View
from ..errors import DataError, UsageError
from ..files.text import counted_are
from ..machine import Machine
from ..methods.contract import Batch, Method, Outcome, Step
from ..nets.trained import InputSpec
from ..rng import seed_for
from ..runs.folder import StageFolder
from ..runs.stage import StageContext
from . import checkpoints
from .checkpointer import Checkpointer
from .collapse import CollapseMonitor
from .encode import encode, to_input
from .metrics import Metrics, TrainingSummary
from .nonfinite import NonFiniteGuard
from .optimizers import Name, make_optimizer
from .schedules import cycle_at, learning_rate, steps_for, warmup_steps


@dataclass(frozen=True)
class Training:
    """The length, the optimizer and the learning rate of a training.

    `samples_seen` is the number of images to show, repetitions included: epochs times the size of the collection. `lr` is
    for a batch of 256 images and grows in proportion to the batch. `warmup` is a share of the steps. After it the
    learning rate falls by a cosine or, with `drops`, to a tenth at each of these shares of the training.

    The steps are divided into so many equal `cycles`. Each of them after the first begins like a training that starts from
    the network as it is: the optimizer has no state, and warm-up, learning rate and the method's schedules begin anew.
    """

    samples_seen: float
    batch_size: PositiveInt = 256
    optimizer: Name = "lars"
    lr: PositiveFloat = 0.3
    weight_decay: NonNegativeFloat = 1.5e-6
    warmup: NonNegativeFloat = 0.1
    drops: tuple[float, ...] | None = None
    seed: int = 0
    cycles: PositiveInt = field(default=1, metadata=LATER)


def fit(
    context: StageContext,
    method: Method,
    pixels: Pixels,
    training: Training,
    pair: tuple[View, View],
    input_spec: InputSpec,
) -> TrainingSummary:
    """Train the method on the images, from its newest checkpoint if there is one, and return the summary.

    The method makes its own views from `pair`. Raises DataError for too few images, UsageError for a batch that the ranks
    can't share, FaultError for a value that is not finite and for collapsed features.
    """
    _check_batch(context.name, len(pixels), training.batch_size)
    machine, steps = context.machine, steps_for(training.samples_seen, training.batch_size)
    sampler = Sampler(len(pixels), training.batch_size, training.seed)
    loader = make_loader(pixels, sampler, method.views(pair), training.seed, machine)
    optimizer = prepare_training(method, training, machine)
    first = _resume(context, method, optimizer, loader)
    guard = NonFiniteGuard(optimizer, late=machine.device != "cpu")
    metrics = Metrics(context, loader, first=first, steps=steps, batch_size=training.batch_size)
    save = functools.partial(_save, context, method, optimizer)
    checkpointer = Checkpointer(context, metrics, save, guard.check_last_step)
    monitor = CollapseMonitor(context.name, method.advice, metrics.file.kept, allow_collapse=context.allow_collapse)
    for step in range(first, steps):
        whole = Step(step, steps, sampler.epoch(step))
        at = _in_cycle(whole, training.cycles)
        torch.manual_seed(seed_for(training.seed, "step", step))  # so a resume needs no saved random state
        _begin_cycle(method, optimizer, at)
        if sampler.begins_epoch(step):
            _begin_epoch(method, optimizer, loader, input_spec, machine, at)
        batch = as_batch(loader.batch(step), input_spec, machine)
        outcome = train_step(method, optimizer, batch, at, _learning_rate(training, at), machine, guard)
        method.after_step(outcome.update, at)
        failpoints.at("train.stepped")
        if metrics.is_logged(step):
            _log(metrics, monitor, outcome, whole, optimizer.param_groups[0]["lr"])
        metrics.report(step)
        checkpointer.after_step(step)
    return metrics.summary()


def _check_batch(name: str, images: int, batch_size: int) -> None:
    if images < 2 or batch_size < 2:
        raise DataError(f"{name}: {counted_are(images, 'image')} too few to train on; add images, or lower clusters.k")
    if batch_size % dist.world_size():
        raise UsageError(
            f"{name}: {dist.world_size()} ranks can't share a batch of {batch_size} alike; type a multiple"
        )


def make_loader(pixels: Pixels, sampler: Sampler, views: tuple[View, ...], seed: int, machine: Machine) -> Loader:
    """Return the loader of this rank's share of each batch."""
    ahead = machine.device != "cpu"  # on a CPU the views would take cores from the training step
    return Loader(
        pixels,
        sampler,
        views,
        seed=seed,
        workers=machine.workers,
        rank=dist.rank(),
        world=dist.world_size(),
        ahead=ahead,
        pinned=machine.device.startswith("cuda"),
    )


def prepare_training(method: Method, training: Training, machine: Machine) -> torch.optim.Optimizer:
    """Move the method to the device, compile it if asked to, and return its optimizer."""
    machine.to_device(method).train()
    if machine.compiled:
        method.compile()
    return make_optimizer(training.optimizer, method, training.weight_decay)


def _resume(context: StageContext, method: Method, optimizer: torch.optim.Optimizer, loader: Loader) -> int:
    """Load the newest checkpoint, prepare the loader, and return the first step to do."""
    first = checkpoints.load(StageFolder(context.folder).checkpoints, method, optimizer, context.key_digest)
    _show_resampled(loader, method)
    dist.first_on_host(lambda: loader.warm_up(first))
    return first


def _in_cycle(whole: Step, cycles: int) -> Step:
    """Return the step of the whole training as a step of its cycle."""
    begin, steps = cycle_at(whole.step, whole.steps, cycles)
    return Step(whole.step - begin, steps, whole.epoch, begin)


def _begin_cycle(method: Method, optimizer: torch.optim.Optimizer, at: Step) -> None:
    """Let the method begin a cycle, with an optimizer that has no state; at any other step, and at the first cycle, do nothing."""
    if at.step == 0 < at.begin:
        method.begin_cycle()
        optimizer.state.clear()


def _begin_epoch(
    method: Method, optimizer: torch.optim.Optimizer, loader: Loader, input_spec: InputSpec, machine: Machine, at: Step
) -> None:
    """Let the method prepare for the epoch, e.g. cluster the features of all images again."""
    method.before_epoch(lambda layer: encode(method.net, input_spec, loader.pixels, machine, layer=layer), at)
    for parameter in method.reset_parameters():
        optimizer.state.pop(parameter, None)
    _show_resampled(loader, method)


def _show_resampled(loader: Loader, method: Method) -> None:
    """Let the loader show the images that the method wants in this epoch."""
    indices = method.resampled_indices()
    loader.resample(None if indices is None else indices.cpu().numpy())


def train_step(
    method: Method,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    at: Step,
    lr: float,
    machine: Machine,
    guard: NonFiniteGuard | None = None,
) -> Outcome:
    """Do the forward and the backward pass of a batch, and move the weights unless a value is not finite.

    `lr` is the learning rate of this step. Returns what the method's forward returned. Raises FaultError on every rank
    if the loss or a gradient is not finite on any rank; a `guard` that is `late` raises it at the next step.
    """
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
    """Return a batch of the loader as normalized tensors on the device of the machine."""
    views = [to_input(view, input_spec, machine) for view in shown.views]
    return Batch(views, torch.from_numpy(shown.positions).to(machine.device, non_blocking=True))


def _learning_rate(training: Training, at: Step) -> float:
    peak = training.lr * training.batch_size / 256
    warmup = warmup_steps(training.warmup, training.samples_seen / training.cycles, training.batch_size)
    return learning_rate(at.step, at.steps, peak=peak, warmup=warmup, drops=training.drops)


def _save(context: StageContext, method: Method, optimizer: torch.optim.Optimizer, step: int) -> None:
    checkpoints.save(
        StageFolder(context.folder).checkpoints, step, method, optimizer, context.key_digest, context.check_owner
    )


def _log(metrics: Metrics, monitor: CollapseMonitor, outcome: Outcome, at: Step, lr: float) -> None:
    """Log a step, and raise FaultError if its features and those of many steps before have collapsed."""
    loss, *means = dist.mean_of([float(value) for value in (outcome.loss.detach(), *outcome.logs.values())])
    values = {"epoch": at.epoch, "lr": lr, **dict(zip(outcome.logs, means)), **monitor.watch(outcome, loss, at)}
    metrics.log(at.step, loss, values)
    monitor.check(at)
