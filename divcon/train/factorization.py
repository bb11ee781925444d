"""Non-negative matrix factorization of the pixels of a collection, by scikit-learn's MiniBatchNMF on one batch a step."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from .. import failpoints
from ..data.loader import Loader
from ..data.pixels.pixels import Pixels
from ..data.sampler import Sampler
from ..data.views.presets import center
from ..errors import DamagedError, InputError
from ..files.atomic import atomic_write
from ..files.integrity import append_digest, read_with_digest
from ..files.tensors import write_tensors
from ..log import warning
from ..nets.factors import Factors
from ..nets.trained import InputSpec
from ..rng import seed_for
from ..runs.folder import FACTORS, StageFolder
from ..runs.stage import StageContext
from .checkpointer import Checkpointer
from .encode import to_input
from .metrics import Metrics, TrainingSummary
from .schedules import steps_for

STATE = {
    "components": "components_",
    "numerator": "_components_numerator",
    "denominator": "_components_denominator",
}  # the attributes of scikit-learn's model that a step changes, by their names in a checkpoint
FORGET_FACTOR = 0.7  # scikit-learn's default, per epoch

Rows = NDArray[np.float32]  # [batch, 3 * size * size]


class Factorizer(Protocol):
    """The part of scikit-learn's MiniBatchNMF that is used here: it has no types."""

    components_: Rows

    def partial_fit(self, rows: Rows, /) -> Self: ...


def factorize_pixels(
    context: StageContext,
    factors: Factors,
    pixels: Pixels,
    input_spec: InputSpec,
    *,
    samples_seen: float,
    batch_size: int,
    seed: int,
) -> TrainingSummary:
    """Fit the components of `factors` to center views of the images, from the newest checkpoint if there is one.

    `samples_seen` is the number of images to show, repetitions included. Raises InputError without scikit-learn.
    """
    sampler, steps = Sampler(len(pixels), batch_size, seed), steps_for(samples_seen, batch_size)
    loader = Loader(pixels, sampler, (center(input_spec.size),), seed=seed, workers=context.machine.workers)

    def rows_of(step: int) -> Rows:
        views = to_input(loader.batch(step).views[0], input_spec, context.machine)
        return np.asarray(views.cpu().flatten(1), np.float32)

    file = StageFolder(context.folder).checkpoints / FACTORS
    model = make_factorizer(factors.num_features, batch_size / len(pixels), seed)
    first = _resume(model, file, rows_of) if file.exists() else 0
    if first:
        factors.components.copy_(torch.from_numpy(model.components_))
    metrics = Metrics(context, loader, first=first, steps=steps, batch_size=batch_size)
    checkpointer = Checkpointer(context, metrics, functools.partial(_save, file, model))
    for step in range(first, steps):
        rows = rows_of(step)
        model.partial_fit(rows)
        factors.components.copy_(torch.from_numpy(model.components_))
        failpoints.at("factors.stepped")
        if metrics.is_logged(step):
            error = _squared_error(factors, rows)
            metrics.log(step, error, {}, f"squared error {error:.4f}")
        metrics.report(step)
        checkpointer.after_step(step)
    return metrics.summary()


def make_factorizer(components: int, share: float, seed: int) -> Factorizer:
    """Return scikit-learn's model for batches that are this share of the collection."""
    try:
        from sklearn.decomposition import MiniBatchNMF
    except ImportError as error:
        raise InputError("recipe=nmf needs scikit-learn; type: pip install 'divcon[baselines]'") from error
    forget_factor, state = FORGET_FACTOR ** min(1.0, share), seed_for(seed, "weights") % 2**32
    model: Factorizer = MiniBatchNMF(components, init="random", forget_factor=forget_factor, random_state=state)
    return model


def _resume(model: Factorizer, file: Path, rows_of: Callable[[int], Rows]) -> int:
    """Load the checkpoint into the model and return its step, or return 0 if the file is damaged."""
    try:
        state = load(read_with_digest(file))
    except DamagedError as error:
        warning(f"{error}. This stage begins again")
        return 0
    step = int(state["step"])
    model.partial_fit(rows_of(step))  # sets up the other attributes; the next lines replace the result
    for name, attribute in STATE.items():
        setattr(model, attribute, state[name].numpy())
    return step


def _save(file: Path, model: Factorizer, step: int) -> None:
    state = {name: torch.from_numpy(getattr(model, attribute)) for name, attribute in STATE.items()}
    with atomic_write(file) as part:
        write_tensors(part, {**state, "step": torch.tensor(step)})
        append_digest(part)
    failpoints.at("factors.kept")


def _squared_error(factors: Factors, rows: Rows) -> float:
    """The mean squared error of the reconstructed pixel values."""
    x = torch.from_numpy(rows)
    return float((x - factors.reconstruct(factors.amounts(x))).square().mean())
