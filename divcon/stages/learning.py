"""Train one encoder: what every stage that trains a network has in common."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from .. import dist
from ..data.images import Images
from ..data.pixels.pixel_cache import Pixels, open_pixels
from ..data.views.presets import PRESETS
from ..data.views.view import View
from ..errors import DataError, UsageError
from ..log import info
from ..methods.contract import Method
from ..nets.batch_norm import over_all_ranks
from ..nets.encoder import EncoderSpec, build
from ..nets.fast_small_maps import with_fast_small_maps
from ..nets.recompute import recomputing
from ..nets.trained import InputSpec, Trained
from ..rng import seed_for, uniforms
from ..runs.run import StageContext
from ..train.loop import Training, fit

L = TypeVar("L", bound="NetworkTraining")
Start = Literal["scratch", "base"]
FEWEST = 16  # images: a batch has at least two, and is at most an eighth of them


@dataclass(frozen=True, kw_only=True)
class NetworkTraining(Training):
    """A training together with what is trained and what it is shown."""

    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    input_spec: InputSpec = field(default_factory=InputSpec)
    views: str = "byol"  # a pair of views, by name: byol, mild, simclr, swav, crop
    start: Start = "scratch"
    recompute: bool = False  # the encoder's blocks once more for the gradient, rather than keep what they made

    def __post_init__(self) -> None:
        if self.views not in PRESETS:
            raise UsageError(f"views={self.views}: there is {', '.join(PRESETS)}")
        if self.batch_size < 2 or self.images <= 0:
            raise UsageError(f"batch_size={self.batch_size}, images={self.images}: at least 2, and more than 0")

    def pair(self) -> tuple[View, View]:
        return PRESETS[self.views](self.input_spec.size)


def train_network(
    context: StageContext, images: Images, recipe: NetworkTraining, method_of: Any, base: Trained | None
) -> Trained:
    """Build the method around a new encoder, or the base's, and train it."""
    recipe = fitting(recipe, len(images), context.name)
    pixels = pixels_of(context, images, recipe.input_spec)
    torch.manual_seed(seed_for(recipe.seed, "weights"))
    encoder = over_all_ranks(build(recipe.encoder, recipe.input_spec.size))
    if recipe.recompute:
        recomputing(encoder, recipe.encoder.name)
    method: Method = method_of(with_fast_small_maps(encoder) if context.machine.fast_small_maps else encoder)
    if recipe.start == "base":
        _start_from(method, base, context.name)
    context.notes |= asdict(fit(context, method, pixels, recipe, recipe.pair(), recipe.input_spec))
    return Trained(recipe.encoder, recipe.input_spec, method.net)


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


def fitting(recipe: L, n: int, name: str) -> L:
    """The recipe with a batch that is small enough for so many images: an eighth of them (and the rate with it), of which
    all ranks have as many."""
    if n < FEWEST:
        raise DataError(f"{name}: {n} images are too few to train on; add images, or lower clusters.k")
    if recipe.batch_size <= n // 8:
        return recipe
    batch = max(1, n // 8 // dist.world()) * dist.world()
    info(f"{name}: batch {batch}, an eighth of its {n:,} images")
    return replace(recipe, batch_size=batch)


def pixels_of(context: StageContext, images: Images, input_spec: InputSpec) -> Pixels:
    """The images' pixels, with the short side twice that of a view, from the cache that runs share."""
    return open_pixels(
        images, input_spec.short_side, cache=context.cache, cache_gb=context.cache_gb, workers=context.machine.workers
    )


def sample(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of n positions, in order: which ones depends on n and the seed only."""
    if n <= most:
        return np.arange(n)
    order = np.argsort(uniforms((seed, "sample"), np.arange(n), 1)[:, 0], kind="stable")
    return np.sort(order[:most])
