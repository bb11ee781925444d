"""A whole training step of divcon's, loader included, on pictures in memory: what bench_step times and
bench_profile looks into."""

import itertools
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from divcon import machine as machines
from divcon.data import synthetic
from divcon.data.loader import Loader
from divcon.data.pixels.packed import PackedImages
from divcon.data.pixels.pixel_cache import CachedPixels
from divcon.data.sampler import Sampler
from divcon.data.views.presets import PRESETS
from divcon.data.views.view import View
from divcon.machine import Machine
from divcon.methods.contract import Step
from divcon.methods.registry import method_named
from divcon.nets.batch_norm import over_all_ranks
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.fast_small_maps import with_fast_small_maps
from divcon.nets.net import width
from divcon.nets.trained import InputSpec
from divcon.train.loop import as_batch, train_step
from divcon.train.nonfinite import NonFiniteGuard
from divcon.train.optimizers import make_optimizer

from .pairs import seconds

Picture = NDArray[np.uint8]
DISTINCT = 256  # pictures; a collection is made of them over and over
LR = 0.06
QUEUE = 4096


@dataclass(frozen=True, kw_only=True)
class Case:
    """The training of both sides: `picture` is the side of the square pictures that views of `size` are taken from."""

    name: str
    method: str
    encoder: str
    size: int
    picture: int
    batch: int
    stem: str = "own"
    aim: float | None = None
    steps: int = 1  # for one measurement
    note: str = ""

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return build(EncoderSpec(self.encoder, stem=self.stem), self.size)

    def widths(self) -> tuple[int, int]:
        """The projector's hidden and output width in lightly's examples."""
        return (1024, 256) if self.method == "byol" else (width(self.network()), 128)

    def views(self) -> tuple[View, View]:
        """The two views of lightly's examples, in our words: it blurs nothing at 32 pixels."""
        if self.method in ("moco", "moclr"):
            mocos = replace(PRESETS["simclr"](self.size)[0], area=(0.2, 1.0))
            mocos = replace(mocos, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
            return mocos, mocos
        pair = PRESETS[self.method](self.size)
        a, b = (replace(view, blur=0.0) for view in pair) if self.size == 32 else pair
        return a, b

    def options(self) -> dict[str, int]:
        """Of our method: widths, and the length of MoCo's queue."""
        hidden, dim = self.widths()
        return {"hidden": hidden, "dim": dim} | ({"queue": QUEUE} if self.method == "moco" else {})

    def pictures(self, batches: int = 32) -> list[Picture]:
        """Enough of them for so many batches."""
        some = pictures(DISTINCT, self.picture)
        return list(itertools.islice(itertools.cycle(some), batches * self.batch))


def pictures(n: int, side: int) -> list[Picture]:
    """n different square pictures, made as `divcon.data.synthetic` makes them."""
    kinds = itertools.cycle(synthetic.KINDS.values())
    return [
        synthetic.draw_image(draw, np.random.default_rng(i), side)[:side, :side] for i, draw in zip(range(n), kinds)
    ]


def chosen() -> Machine:
    """The machine as a run chooses it, measured anew."""
    with tempfile.TemporaryDirectory() as folder:
        return machines.choose(Path(folder))


class Ours:
    """divcon's loop, a step at a time: every line of it is the package's."""

    def __init__(self, case: Case, machine: Machine):
        self.case, self.machine, self.input_spec, pictures = case, machine, InputSpec(case.size), case.pictures()
        network = over_all_ranks(case.network())
        network = with_fast_small_maps(network) if machine.fast_small_maps else network
        self.method = method_named(case.method)(network, len(pictures), **case.options())
        self.loader = Loader(
            CachedPixels(PackedImages.from_arrays(pictures), np.arange(len(pictures))), Sampler(len(pictures), case.batch),
            self.method.views(case.views()), seed=0, workers=machine.workers, ahead=machine.device != "cpu",
        )  # fmt: skip
        machine.to_device(self.method).train()
        self.optimizer = make_optimizer("sgd", self.method, 1e-4)
        self.guard = NonFiniteGuard(self.optimizer, late=machine.device != "cpu")
        self.at = 0
        self.forget()

    def forget(self) -> None:
        """Begin the account of time anew, after the steps that warmed up."""
        self.done, self.spent, self.normalizing, self.loader.waited = 0, 0.0, 0.0, 0.0

    def steps(self) -> None:
        with self.machine.use():
            for _ in range(self.case.steps):
                self.spent += seconds(self.step)

    def step(self) -> None:
        at = Step(self.at, 10_000, self.loader.sampler.epoch(self.at))
        shown = self.loader.batch(self.at)
        begin = time.perf_counter()
        batch = as_batch(shown, self.input_spec, self.machine)
        self.normalizing += time.perf_counter() - begin
        outcome = train_step(self.method, self.optimizer, batch, at, LR, self.machine, self.guard)
        self.method.after_step(outcome.update, at)
        self.at, self.done = self.at + 1, self.done + 1

    def figures(self) -> dict[str, float]:
        """Images a second; and the shares of time in which data was waited for, which on a CPU includes making the
        views, and in which views became tensors of the machine's layout."""
        return {
            "images_per_second": self.done * self.case.batch / self.spent,
            "data_wait": self.loader.waited / self.spent, "normalizing": self.normalizing / self.spent,
        }  # fmt: skip

    def close(self) -> None:
        """Nothing is left open."""
