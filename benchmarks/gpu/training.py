"""The training loop of a large network, a step at a time, on photos from files or on tensors that lie ready."""

import time
from dataclasses import dataclass, replace

import torch

from divcon.data.images import open_images
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.data.pixels.pixels import DecodedPixels
from divcon.data.sampler import Sampler
from divcon.data.views.presets import PRESETS
from divcon.machine import Machine, available_cores, default_workers
from divcon.methods.contract import Batch, Step
from divcon.methods.registry import method_named
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.trained import InputSpec
from divcon.train import loop
from divcon.train.nonfinite import NonFiniteGuard

from .checks import Place
from .photos import photos

LR, STEPS = 0.06, 10_000


@dataclass(frozen=True)
class Setting:
    """The network, the size of its views and its batch."""

    encoder: str
    size: int
    batch: int


def setting(place: Place) -> Setting:
    return Setting("slim10_w8", 32, 8) if place.tiny else Setting("resnet50", 224, 256)


def smaller(place: Place) -> Setting:
    """A network that is compiled in a minute."""
    return setting(place) if place.tiny else Setting("resnet18", 128, 256)


def machine_of(place: Place, precision: str = "bf16", *, channels_last: bool = True, compiled: bool = False) -> Machine:
    threads, workers = available_cores(), default_workers(place.device)
    machine = Machine(place.device, "fp32", channels_last, threads, workers, compiled=compiled)
    return replace(machine, precision="bf16") if precision == "bf16" else machine


class Training:
    """divcon's loop, a step at a time: every line of it is the package's.

    `cache_gb=0` decodes each file again and again, as for a collection that is larger than the cache.
    """

    def __init__(
        self,
        place: Place,
        machine: Machine,
        method: str = "moclr",
        cache_gb: float = 0.0,
        case: Setting | None = None,
    ):
        self.machine, case = machine, case or setting(place)
        self.spec, self.batch_size, self.at = InputSpec(case.size), case.batch, 0
        images = open_images(photos(place), cache=place.cache, workers=machine.workers)
        self.pixels = pixels = open_pixels(
            images, self.spec.short_side, cache=place.cache, cache_gb=cache_gb, workers=machine.workers
        )
        torch.manual_seed(0)
        heads = {"hidden": 64, "dim": 32} if place.tiny else {}
        self.method = method_named(method)(build(EncoderSpec(case.encoder), case.size), len(images), **heads)
        self.sampler = Sampler(len(images), case.batch, 0)
        views = self.method.views(PRESETS["byol"](case.size))
        self.loader = loop.make_loader(pixels, self.sampler, views, 0, machine)
        self.optimizer = loop.prepare_training(self.method, loop.Training(1.0, optimizer="lars"), machine)
        self.guard = NonFiniteGuard(self.optimizer, late=machine.device != "cpu")
        self.ready: Batch | None = None

    def step(self) -> torch.Tensor:
        """A step on the next batch of files, or on the batch that lies ready."""
        at = Step(self.at, STEPS, self.sampler.epoch(self.at))
        torch.manual_seed(self.at)
        batch = self.ready or loop.as_batch(self.loader.batch(self.at), self.spec, self.machine)
        outcome = loop.train_step(self.method, self.optimizer, batch, at, LR, self.machine, self.guard)
        self.method.after_step(outcome.update, at)
        self.at += 1
        return outcome.loss.detach()

    def timed(self, steps: int, warmup: int = 4) -> dict[str, float]:
        """Images a second, and the share of time in which the loop waited for data, after some steps that warm up."""
        with self.machine.use():
            for _ in range(warmup):
                self.step()
            self._synchronize()
            self.loader.waited, begin = 0.0, time.perf_counter()
            for _ in range(steps):
                loss = self.step()
            self._synchronize()
            seconds = time.perf_counter() - begin
        return {
            "images_per_second": round(steps * self.batch_size / seconds, 1), "steps": steps,
            "data_wait": round(self.loader.waited / seconds, 4), "seconds_per_step": round(seconds / steps, 4),
            "loss": float(loss),
        }  # fmt: skip

    def prepare_batch(self) -> None:
        """From now on each step has the same tensors, so that no data is waited for."""
        self.ready = loop.as_batch(self.loader.batch(self.at), self.spec, self.machine)

    def use_workers(self, workers: int) -> None:
        """Decode and make views by so many threads from now on."""
        assert isinstance(self.pixels, DecodedPixels)
        self.pixels.workers = self.loader.workers = workers

    def _synchronize(self) -> None:
        if self.machine.device.startswith("cuda"):
            torch.cuda.synchronize()


def steps_of(place: Place, steps: int) -> int:
    return 1 if place.tiny else steps
