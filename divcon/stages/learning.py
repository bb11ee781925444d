"""Train one network: what every stage that trains one has in common."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import dist
from ..data.images import Images
from ..data.pixels.pixel_cache import open_pixels
from ..data.pixels.pixels import Pixels
from ..data.views.presets import PRESETS
from ..data.views.view import View
from ..errors import DataError, UsageError
from ..files.text import counted_are
from ..log import info
from ..machine import Machine
from ..methods.contract import Method
from ..nets.batch_norm import over_all_ranks
from ..nets.encoder import EncoderSpec, build
from ..nets.fast_small_maps import with_fast_small_maps
from ..nets.net import Layer, Net
from ..nets.recompute import recomputing
from ..nets.trained import InputSpec, Trained
from ..rng import seed_for, uniforms
from ..runs.recorder import Plan
from ..runs.stage import Result, StageContext
from ..train.loop import Training, fit
from ..train.whitening import FITTED, fit_whitening

L = TypeVar("L", bound="NetworkTraining")
Start = Literal["scratch", "base"]
FEWEST = 16  # images: a batch has at least two, and is at most an eighth of them
MakeMethod = Callable[[nn.Module], Method]  # around an encoder
Features = Float32[Tensor, "n d"]


@dataclass(frozen=True, kw_only=True)
class NetworkTraining(Training):
    """The recipe of a training: how long and how fast, of which encoder, on which views.

    `views` names a pair of views: byol, mild, simclr, swav, crop. With `start=base` the network begins with the weights of
    the base. With `recompute` the encoder's blocks run a second time for the gradient, and their outputs are not kept.
    """

    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    input_spec: InputSpec = field(default_factory=InputSpec)
    views: str = "byol"
    start: Start = "scratch"
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.views not in PRESETS:
            raise UsageError(f"views={self.views}: there is {', '.join(PRESETS)}")
        if self.batch_size < 2 or self.samples_seen <= 0:
            raise UsageError(
                f"batch_size={self.batch_size}, samples_seen={self.samples_seen}: at least 2, and more than 0"
            )

    def pair(self) -> tuple[View, View]:
        """The two views of the recipe."""
        return PRESETS[self.views](self.input_spec.size)


class PlannedNetwork(Trained):
    """Stands for a network that is not trained yet. It is built, with random weights, when its shape is asked for."""

    def __init__(self, spec: EncoderSpec, input_spec: InputSpec, method: MakeMethod | None):
        self.spec, self.input_spec, self.folder, self.method = spec, input_spec, None, method
        self.whitening = None

    @cached_property
    def net(self) -> Net:
        with torch.random.fork_rng(devices=[]):
            encoder = build(replace(self.spec, init="random"), self.input_spec.size)
            return self.method(encoder).net if self.method else Net(encoder)


def no_bytes(width: int) -> float:
    """Nothing for features of any width."""
    return 0.0


@dataclass(frozen=True)
class TrainingPlan:
    """A training that is planned: its recipe, with the batch that one process gives it, and the number of its images.

    `method` builds its method; None for a training without one. `batch_asked` is the batch as typed. `encoded` are the images
    that are encoded before the first step and after the last one. So many `held_networks` are in memory, and `extra_bytes` on disk, while it runs,
    besides what `method` builds and the checkpoints.
    """

    recipe: Any  # NetworkTraining or Factorization
    images: int
    method: MakeMethod | None = None
    batch_asked: int | None = None
    encoded: int = 0
    held_networks: int = 0
    extra_bytes: float = 0.0

    @property
    def by_leader(self) -> bool:
        """True for a training without a method: one rank does it alone."""
        return self.method is None

    def on_ranks(self, ranks: int) -> "TrainingPlan":
        """The plan with the batch that the training has on so many ranks."""
        batch_size = fitting_batch(self.batch_asked or self.recipe.batch_size, self.images, ranks)
        return replace(self, recipe=replace(self.recipe, batch_size=batch_size))


@dataclass(frozen=True)
class EncodingPlan:
    """A stage that is planned and trains nothing: it encodes `encoded` views of the images at a layer of the `network`, and does
    something with the features.

    `finish` is what it does with `rows` of them, so many `times`. `held_bytes` and `disk_bytes` are functions of the width of the
    features. With `by_leader` one rank does all of it.
    """

    network: Trained
    images: int
    encoded: int
    layer: Layer
    rows: int
    finish: Callable[[Features, Machine], object]
    held_bytes: Callable[[int], float] = no_bytes
    disk_bytes: Callable[[int], float] = no_bytes
    times: int = 1
    by_leader: bool = False


def train_network(
    context: StageContext, images: Images, recipe: NetworkTraining, method: MakeMethod, base: Trained | None = None
) -> Result[Trained]:
    """Build a network, and the method around it, and train it."""
    recipe = with_fitting_batch(recipe, len(images), context.name, dist.world_size())
    pixels = pixels_of(context, images, recipe.input_spec)
    torch.manual_seed(seed_for(recipe.seed, "weights"))
    trained = method(new_encoder(recipe, context.machine))
    if recipe.start == "base":
        _start_from(trained, base, context.name)
    summary = fit(context, trained, pixels, recipe, recipe.pair(), recipe.input_spec)
    whitening = fit_whitening(context, trained.net, recipe.input_spec, pixels, sample(len(images), FITTED, 0))
    return Result(Trained(recipe.encoder, recipe.input_spec, trained.net, whitening=whitening), summary)


def plan_network(
    images: Images,
    recipe: NetworkTraining,
    method: MakeMethod,
    *,
    encoded: int = 0,
    held_networks: int = 0,
    extra_bytes: float = 0.0,
) -> Plan[Trained]:
    """The plan of a stage that trains a network; `encoded` are the images that it encodes before the first step."""
    fitted = replace(recipe, batch_size=fitting_batch(recipe.batch_size, len(images)))
    network = PlannedNetwork(recipe.encoder, recipe.input_spec, method)
    encoded += min(len(images), FITTED)  # for the whitening
    return Plan(
        network, TrainingPlan(fitted, len(images), method, recipe.batch_size, encoded, held_networks, extra_bytes)
    )


def new_encoder(recipe: NetworkTraining, machine: Machine) -> nn.Module:
    """The encoder of a recipe, in the form in which this machine trains it."""
    encoder = over_all_ranks(build(recipe.encoder, recipe.input_spec.size))
    if recipe.recompute:
        recomputing(encoder, recipe.encoder.name)
    return with_fast_small_maps(encoder) if machine.fast_small_maps else encoder


class _NoEncoder(nn.Module):
    """Stands for an encoder while a method is asked for its views."""

    num_features = 8


def without_encoder(method: MakeMethod) -> Method:
    """Return the method around a stand-in for an encoder."""
    with torch.random.fork_rng(devices=[]):
        return method(_NoEncoder())


def learns_from_pair(method: MakeMethod, pair: tuple[View, View]) -> bool:
    """Return True if the first views of the method are this pair, so that another loss can learn from them too."""
    return without_encoder(method).views(pair)[:2] == pair


def _start_from(method: Method, base: Trained | None, name: str) -> None:
    if base is None:
        raise UsageError(f"{name}.start=base: only experts and students can start from a base")
    try:
        method.start_from(base.net)
    except RuntimeError as error:
        raise UsageError(
            f"{name}: start=base, but this network has another shape than the base's; give both the same encoder, size and options, "
            "or set expert.start=scratch (student.start=scratch)"
        ) from error


def with_fitting_batch(recipe: L, n: int, name: str, ranks: int = 1) -> L:
    """The recipe with a batch that is small enough for n images; the learning rate follows the batch."""
    if n < FEWEST:
        raise DataError(f"{name}: {counted_are(n, 'image')} too few to train on; add images, or lower clusters.k")
    batch = fitting_batch(recipe.batch_size, n, ranks)
    if batch < recipe.batch_size:
        info(f"{name}: batch {batch}, an eighth of its {n:,} images")
    return replace(recipe, batch_size=batch)


def fitting_batch(batch_size: int, n: int, ranks: int = 1) -> int:
    """The batch size, or an eighth of n images where that is smaller, and at least two.

    In a run on several ranks an eighth is rounded down to a multiple of 8, or of 8 and the ranks if 8 can't be shared by them:
    so 2, 4 and 8 ranks see the same batches. Where that leaves nothing, it is the number of ranks.
    """
    if batch_size <= n // 8:
        return batch_size
    if ranks == 1:
        return max(2, n // 8)
    unit = math.lcm(8, ranks)
    return n // 8 // unit * unit or n // 8 // ranks * ranks or ranks


def pixels_of(context: StageContext, images: Images, input_spec: InputSpec) -> Pixels:
    """The images' pixels, with the short side twice that of a view, from the cache that runs share."""
    return dist.first_on_host(
        lambda: open_pixels(
            images,
            input_spec.short_side,
            cache=context.cache,
            cache_gb=context.cache_gb,
            workers=context.machine.workers,
        )
    )


def sample(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of n positions, in order; n and the seed alone decide which."""
    if n <= most:
        return np.arange(n)
    order = np.argsort(uniforms((seed, "sample"), np.arange(n), 1)[:, 0], kind="stable")
    return np.sort(order[:most])
