"""Every method on the device against the CPU: the same weights, the same batch, the same random numbers, two steps."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from divcon.data.pixels.packed import PackedImages
from divcon.data.pixels.pixel_cache import CachedPixels
from divcon.data.views.presets import PRESETS
from divcon.data.views.render import views_of
from divcon.machine import Machine
from divcon.methods import registry
from divcon.methods.contract import Batch, Method, Step
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.net import Net
from divcon.nets.teacher import Teacher
from divcon.nets.trained import InputSpec
from divcon.train.encode import encode, to_input
from divcon.train.loop import train_step
from divcon.train.nonfinite import NonFiniteGuard
from divcon.train.optimizers import make_optimizer

from ..steps import pictures
from .checks import Notes, Place

IMAGES, SIZE, BATCH, STEPS, LR = 128, 32, 32, 2, 0.05
OPTIONS = {
    "hidden": 64, "dim": 32, "queue": 48, "prototypes": 10, "hold": 0.0, "queue_from": 0, "crops": 1, "clusters": 6,
    "heads": 2, "components": 12, "permutations": 8, "channels": 32, "negatives": 32, "recognition": 0.0,
}  # fmt: skip
# Relative differences. A network's rounding is 1e-6, but a ReLU whose input is that near to 0 may open on one side only, and
# a neighbor or a cluster may be another one: that moves a gradient by up to a hundredth. An error in a method moves it by 1.
FIRST_LOSS, LOSSES, GRADIENT, MOVED, BF16_LOSS = 1e-4, 2e-2, 3e-2, 0.1, 0.05
SPEC = InputSpec(SIZE)


@dataclass(frozen=True)
class Trace:
    """The losses of the steps, the gradient of the first one, and how the weights moved in all of them."""

    losses: list[float]
    gradient: Tensor
    moved: Tensor
    labels: Tensor | None


class DrawnOnCpu(TorchFunctionMode):
    """Draws random numbers on the CPU, whose generator has other numbers than a GPU's, and moves them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.rand, torch.randn, torch.randint, torch.randperm) and kwargs.get("device") is not None:
            return func(*args, **{**kwargs, "device": "cpu"}).to(kwargs["device"])
        return func(*args, **kwargs)


def float32(place: Place, notes: Notes) -> None:
    """Each method in float32, without TF32, on the device and on the CPU."""
    no_tf32()
    reference = Machine("cpu", "fp32", channels_last=False, fast_small_maps=False)
    for name in names(place):
        ours, theirs = (trace(name, machine, place) for machine in (Machine(place.device, "fp32"), reference))
        compare(name, ours, theirs, notes)


def compare(name: str, ours: Trace, theirs: Trace, notes: Notes) -> None:
    first, last = (abs(a - b) / max(abs(b), 1e-6) for a, b in zip(ours.losses, theirs.losses, strict=True))
    gradient, moved = relative(ours.gradient, theirs.gradient), relative(ours.moved, theirs.moved)
    notes.put(**{name: {"losses": ours.losses, "loss": first, "gradient": gradient, "moved": moved, "last_loss": last}})
    notes.claim(f"{name}: the loss of the first step differs by, relative", first, at_most=FIRST_LOSS)
    notes.claim(f"{name}: the loss of the second step differs by", last, at_most=LOSSES)
    notes.claim(f"{name}: the gradient of the first step differs by", gradient, at_most=GRADIENT)
    notes.claim(f"{name}: the way of the weights differs by", moved, at_most=MOVED)
    if ours.labels is not None and theirs.labels is not None:
        share = float((ours.labels == theirs.labels).float().mean())
        notes.claim(f"{name}: images in the same cluster", share, at_least=0.99)


def bf16(place: Place, notes: Notes) -> None:
    """Each method in bfloat16 with channels last, and in float32, on the device."""
    for name in names(place):
        ours, full = (trace(name, Machine(place.device, kind), place) for kind in ("bf16", "fp32"))
        finite = bool(torch.isfinite(ours.gradient).all() and torch.isfinite(ours.moved).all())
        loss = abs(ours.losses[0] - full.losses[0]) / max(abs(full.losses[0]), 1e-6)
        notes.put(**{name: {"bf16": ours.losses, "fp32": full.losses}})
        notes.claim(f"{name}: gradients and weights are finite in bf16", float(finite), at_least=1)
        notes.claim(f"{name}: the first loss in bf16 differs from float32's by", loss, at_most=BF16_LOSS)


def no_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def names(place: Place) -> list[str]:
    return registry.method_files()


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))


def trace(name: str, machine: Machine, place: Place) -> Trace:
    """Two steps of a method from weights that depend on its name alone."""
    method = built(name, place)
    start(method, machine)
    batch, weights = batch_of(method, machine), flat(method)
    optimizer = make_optimizer("sgd", method, 1e-4)
    guard, losses, gradients = NonFiniteGuard(optimizer, late=machine.device != "cpu"), list[float](), list[Tensor]()
    for number in range(STEPS):
        torch.manual_seed(number)
        with DrawnOnCpu():
            at = Step(number, 10, 0)
            outcome = train_step(method, optimizer, batch, at, LR, machine, guard)
            gradients.append(torch.cat([g.flatten() for g in gradients_of(method)]))
            method.after_step(outcome.update, at)
        losses.append(float(outcome.loss.detach()))
    guard.check_last_step()
    labels = getattr(method, "labels", None)
    return Trace(losses, gradients[0], flat(method) - weights, None if labels is None else labels.cpu())


def built(name: str, place: Place) -> Method:
    of, given = registry.method_named(name), dict[str, Any]()
    for need in registry.needs(of):
        given[need] = torch.arange(IMAGES) % 3 if need == "labels" else teachers()
    options = {key: value for key, value in OPTIONS.items() if key in registry.options_of(of)}
    torch.manual_seed(0)
    encoder = build(EncoderSpec("slim10_w8" if place.tiny else "resnet18"), SIZE)
    return of(encoder, IMAGES, **given, **options)


def teachers() -> list[Teacher]:
    """A base and three experts with random weights."""
    made = []
    for seed in range(4):
        torch.manual_seed(seed)
        made.append(Teacher(Net(build(EncoderSpec("slim10_w8"), SIZE), hidden=64, dim=32)))
    return made


def start(method: Method, machine: Machine) -> None:
    """Begin the first epoch on the CPU, whose random numbers are drawn, and move the method to the device.

    Clusters of the memory bank are made on the device, from the rows that the CPU has.
    """
    features: dict[str, Tensor] = {}

    def encoded(layer: Any) -> Tensor:
        if layer not in features:
            features[layer] = encode(method.net, SPEC, toy_pixels(), Machine(), layer=layer)
        return features[layer]

    method.train()
    torch.manual_seed(1)
    method.before_epoch(encoded, Step(0, 10, 0))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    machine.to_device(method)
    for teacher in getattr(method, "teachers", ()):
        machine.to_device(teacher)
    if machine.device != "cpu" and not method.reset_parameters():
        method.before_epoch(encoded, Step(0, 10, 0))
        labels = {name: value for name, value in method.state_dict().items() if name == "labels"}
        method.load_state_dict({**before, **labels})


@functools.cache
def toy_pixels() -> CachedPixels:
    return CachedPixels(PackedImages.from_arrays(pictures(IMAGES, 2 * SIZE)), np.arange(IMAGES))


def batch_of(method: Method, machine: Machine) -> Batch:
    """Views of the first images, as the loop makes them."""
    index, pixels = np.arange(BATCH), toy_pixels()
    views = [
        to_input(views_of(view, *pixels.read(index), ("gpu", i), index), SPEC, machine)
        for i, view in enumerate(method.views(PRESETS["mild"](SIZE)))
    ]
    return Batch(views, torch.from_numpy(index).to(machine.device))


def gradients_of(method: Method) -> list[Tensor]:
    return [p.grad.detach().float().cpu() for p in method.parameters() if p.grad is not None]


def flat(method: Method) -> Tensor:
    return torch.cat([p.detach().float().cpu().flatten() for p in method.parameters() if p.requires_grad])
