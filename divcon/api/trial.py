"""Try the stages of a run on a few images, in this process: the time, the processor time and the memory of each."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from .. import dist
from ..data.images import Images
from ..data.pixels.pixel_cache import CachedPixels
from ..data.pixels.pixels import DecodedPixels, Pixels
from ..data.sampler import Sampler
from ..machine import Machine
from ..methods.contract import Method
from ..nets.encoder import build
from ..nets.net import Layer, Net, width
from ..nets.trained import InputSpec
from ..stages.learning import EncodingPlan, NetworkTraining, TrainingPlan, new_encoder, sample
from ..train.encode import CHUNK, encode
from ..train.factorization import make_factorizer
from ..train.loop import as_batch, make_loader, prepare_training
from .disk_space import pixel_bytes
from .memory import PeakMemory
from .trial_step import step_on

SAMPLE = 512  # images that stand for the collection
FEWEST, MOST = 3, 20  # steps that are timed, after those that warm up
WARM_UP = 2
SECONDS = 0.5  # that the timed steps take, about
ENCODED = 64  # images that are encoded first
ROWS = 2048  # rows of features, at most


@dataclass(frozen=True)
class Amount:
    """A time by the clock, and the processor time of this process meanwhile, both in seconds."""

    clock: float = 0.0
    processor: float = 0.0

    def __add__(self, other: Self) -> "Amount":
        return Amount(self.clock + other.clock, self.processor + other.processor)

    def __mul__(self, times: float) -> "Amount":
        return Amount(self.clock * times, self.processor * times)


@dataclass(frozen=True)
class Trial:
    """What a stage takes on this rank: `step` of a training or `finish` of features, `image` to encode one, the memory of the
    process in bytes, the memory on its GPU, and the width of the features. `clusters` is True for a method that clusters the
    collection between epochs."""

    step: Amount
    image: Amount
    memory: float
    gpu: float
    width: int
    clusters: bool = False


def try_pixels(images: Images, input_spec: InputSpec, cache_gb: float, workers: int) -> tuple[Pixels, Amount]:
    """Decode a sample of the collection; return it as a stage reads it, and the time that an image took. It stays decoded where
    a run keeps its pixels in the cache."""
    side, some = input_spec.short_side, images.subset(sample(len(images), SAMPLE, 0))
    decoded = DecodedPixels(some, side, workers)
    (packed, rows), taken = timed(lambda: decoded.read(np.arange(len(some))))
    kept = pixel_bytes(images, side) <= cache_gb * 1e9
    return CachedPixels(packed, rows) if kept else decoded, taken * (1 / len(some))


def try_training(plan: TrainingPlan, pixels: Pixels, machine: Machine) -> Trial:
    """Do a few steps of a training, and encode images if it does so before. All ranks call this together."""
    if plan.method is None:
        return _try_factorization(plan, machine)
    recipe: NetworkTraining = plan.recipe
    with machine.use():
        torch.manual_seed(0)
        reset_gpu_peak(machine)
        with PeakMemory() as peak:
            method = plan.method(new_encoder(recipe, machine))
            step = median_of(_training_step(method, recipe, plan.images, pixels, machine))
        held = plan.held_networks * state_bytes(method.net)
        clusters = type(method).before_epoch is not Method.before_epoch
        encodes = plan.encoded or clusters
        encoding = _try_encoding(method.net, recipe.input_spec, "pool", pixels, machine) if encodes else None
        on_gpu = machine.device.startswith("cuda")
        gpu = held + gpu_peak(machine) if on_gpu else 0.0
    memory = peak.most + (0.0 if on_gpu else held)
    if encoding is None:
        return Trial(step, Amount(), memory, gpu, 0)
    most = max(memory, encoding.memory)
    return replace(encoding, step=step, memory=most, gpu=max(gpu, encoding.gpu), clusters=clusters)


def try_encoding(plan: EncodingPlan, pixels: Pixels, machine: Machine) -> Trial:
    """Encode a few images, and do with random features what the stage does with its own. All ranks call this together."""
    with machine.use():
        reset_gpu_peak(machine)
        trial = _try_encoding(plan.network.net, plan.network.input_spec, plan.layer, pixels, machine)
        rows = min(plan.rows, ROWS)
        x = torch.randn(rows, trial.width, generator=torch.Generator().manual_seed(0))
        with dist.alone() if plan.by_leader else contextlib.nullcontext(), PeakMemory() as peak:
            plan.finish(x[:ENCODED], machine)  # kernels are compiled
            _, taken = timed(lambda: plan.finish(x, machine))
    memory = max(trial.memory, peak.most + plan.held_bytes(trial.width))
    return replace(trial, step=taken * (plan.times * plan.rows / rows), memory=memory)


def _try_encoding(net: Net, spec: InputSpec, layer: Layer, pixels: Pixels, machine: Machine) -> Trial:
    """Encode some images on this rank. Where a whole chunk would take long, its memory is computed from that of fewer."""

    def encoded(n: int) -> torch.Tensor:
        with dist.alone():
            return encode(net, spec, pixels, machine, layer=layer, positions=np.arange(min(n, len(pixels))))

    features = encoded(ENCODED)
    some, taken = min(ENCODED, len(pixels)), timed(lambda: encoded(ENCODED))[1]
    chunk = min(CHUNK, len(pixels))
    with PeakMemory() as peak:
        if taken.clock * chunk / some < 10 * SECONDS:
            some, taken = chunk, timed(lambda: encoded(chunk))[1]
        else:
            encoded(some)
    memory = peak.before + (peak.most - peak.before) * chunk / some
    return Trial(Amount(), taken * (1 / some), memory, gpu_peak(machine), features.shape[1])


def _training_step(
    method: Method, recipe: NetworkTraining, n: int, pixels: Pixels, machine: Machine
) -> Callable[[int], object]:
    """A step on images of the sample, which stand for images at equal distances among n: so they belong to all clusters."""
    optimizer, apart = prepare_training(method, recipe, machine), n // len(pixels)
    sampler = Sampler(len(pixels), recipe.batch_size, 0)
    loader = make_loader(pixels, sampler, method.views(recipe.pair()), 0, machine)

    def step(number: int) -> float:
        batch = as_batch(loader.batch(number), recipe.input_spec, machine)
        return step_on(method, optimizer, replace(batch, index=batch.index * apart), machine)

    return step


def _try_factorization(plan: TrainingPlan, machine: Machine) -> Trial:
    recipe = plan.recipe
    components = width(build(recipe.encoder, recipe.input_spec.size))
    with machine.use(), PeakMemory() as peak:
        model = make_factorizer(components, recipe.batch_size / plan.images, 0)
        noise = np.random.default_rng(0).random((recipe.batch_size, 3 * recipe.input_spec.size**2), np.float32)
        step = median_of(lambda _: model.partial_fit(noise))
    return Trial(step, Amount(), peak.most, 0.0, 0)


def median_of(step: Callable[[int], object]) -> Amount:
    """The median of a few steps, after some that warm up; ranks do equally many."""
    warm = [timed(lambda i=i: step(i))[1] for i in range(WARM_UP)]  # type: ignore[misc]
    longest = float(dist.all_max(torch.tensor(max(1e-4, warm[-1].clock))))
    count = max(FEWEST, min(MOST, math.ceil(SECONDS / longest)))
    taken = [timed(lambda i=i: step(i))[1] for i in range(WARM_UP, WARM_UP + count)]  # type: ignore[misc]
    return Amount(_median([each.clock for each in taken]), _median([each.processor for each in taken]))


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def timed(do: Callable[[], Any]) -> tuple[Any, Amount]:
    """Do it, and return its answer and the time that it took."""
    clock, processor = time.perf_counter(), time.process_time()
    answer = do()
    return answer, Amount(time.perf_counter() - clock, time.process_time() - processor)


def state_bytes(module: torch.nn.Module) -> float:
    """The bytes of a module's parameters and buffers."""
    return float(sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values()))


def reset_gpu_peak(machine: Machine) -> None:
    if machine.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def gpu_peak(machine: Machine) -> float:
    """The most bytes of tensors on the GPU of this process."""
    return float(torch.cuda.max_memory_allocated()) if machine.device.startswith("cuda") else 0.0
