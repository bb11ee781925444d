"""Non-negative factors of a collection's pixels: scikit-learn's MiniBatchNMF, given one batch after another."""

import functools
from pathlib import Path
from typing import Any

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
from .encode import to_input
from .metrics import Metrics, TrainingSummary
from .schedules import steps_for

LEARNT = {
    "components": "components_",
    "numerator": "_components_numerator",
    "denominator": "_components_denominator",
}  # what a step changes of scikit-learn's model
FORGET = 0.7  # what one pass leaves of what the passes before it added up to: scikit-learn's own

Rows = NDArray[np.float32]


def factorize_pixels(
    context: StageContext,
    factors: Factors,
    pixels: Pixels,
    input_spec: InputSpec,
    *,
    images: float,
    batch_size: int,
    seed: int,
) -> TrainingSummary:
    """Fit the factors' components to center views of the pictures, from the newest checkpoint if there is one."""
    order, steps = Sampler(len(pixels), batch_size, seed), steps_for(images, batch_size)
    loader = Loader(pixels, order, (center(input_spec.size),), seed=seed, workers=context.machine.workers)

    def rows(step: int) -> Rows:
        return np.asarray(
            to_input(loader.batch(step).views[0], input_spec, context.machine).cpu().flatten(1), np.float32
        )

    newest = StageFolder(context.folder).checkpoints / FACTORS
    model = solver(factors.num_features, batch_size / len(pixels), seed)
    first = _resumed(model, newest, rows) if newest.exists() else 0
    if first:
        factors.components.copy_(torch.from_numpy(model.components_))
    checkpoint = functools.partial(_save, newest, model)
    course = Metrics(context, loader, first=first, steps=steps, batch_size=batch_size, save=checkpoint)
    for step in range(first, steps):
        seen = rows(step)
        model.partial_fit(seen)
        factors.components.copy_(torch.from_numpy(model.components_))
        failpoints.at("factors.stepped")
        if course.logs(step):
            error = _error(factors, seen)
            course.log(step, error, {}, f"squared error {error:.4f}")
        course.after(step)
    return course.summary()


def solver(components: int, share: float, seed: int) -> Any:
    """scikit-learn's model for batches that are this share of the collection."""
    try:
        from sklearn.decomposition import MiniBatchNMF
    except ImportError as error:
        raise InputError("recipe=nmf needs scikit-learn; type: pip install 'divcon[rivals]'") from error
    state = seed_for(seed, "weights") % 2**32
    return MiniBatchNMF(components, init="random", forget_factor=FORGET ** min(1.0, share), random_state=state)


def _resumed(model: Any, newest: Path, rows: Any) -> int:
    """Put back what the steps before have learnt; which step is next: the first, where that is damaged."""
    try:
        kept = load(read_with_digest(newest))
    except DamagedError as error:
        warning(f"{error}. This stage begins anew")
        return 0
    step = int(kept["step"])
    model.partial_fit(rows(step))  # only to have all else set up; what it learnt is replaced
    for name, its in LEARNT.items():
        setattr(model, its, kept[name].numpy())
    return step


def _save(newest: Path, model: Any, step: int) -> None:
    learnt = {name: torch.from_numpy(getattr(model, its)) for name, its in LEARNT.items()}
    with atomic_write(newest) as part:
        write_tensors(part, {**learnt, "step": torch.tensor(step)})
        append_digest(part)
    failpoints.at("factors.kept")


def _error(factors: Factors, seen: Rows) -> float:
    """The mean square of what is wrong with a pixel's color."""
    x = torch.from_numpy(seen)
    return float((x - factors.put_together(factors.amounts(x))).square().mean())
