"""Does an expert know its own cluster better than the base does? The cheap check that says whether dividing pays."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from ..data.labeled.labeled import Labeled
from ..data.labeled.layout import Split
from ..data.pixels.pixels import Pixels
from ..data.views.presets import mild
from ..machine import Machine
from ..nets.trained import Trained
from ..train.encode import encode
from .knn import knn
from .split import stratified
from .unlabeled import agreement


@dataclass(frozen=True, kw_only=True)
class ExpertCheck:
    """On so many images of each cluster, by so many neighbors; and by the `labels` of a folder, where there are any."""

    images: Annotated[int, Field(ge=2)] = 2000
    neighbors: PositiveInt = 10
    labels: str | None = None
    split: Split = "auto"  # how that folder is laid out
    seed: int = 0


def agreement_on(
    model: Trained, pixels: Pixels, positions: NDArray[np.int64], machine: Machine, check: ExpertCheck
) -> float:
    """Of an image's nearest neighbors in one view, the share that are its neighbors in another, by the pool."""
    a, b = (
        encode(
            model.net,
            model.input_spec,
            pixels,
            machine,
            positions=positions,
            view=view,
            purpose=(check.seed, "check", i),
        )
        for i, view in enumerate(mild(model.input_spec.size))
    )
    return agreement(a, b, min(check.neighbors, len(positions) - 1), precision=machine.precision)


def knn_on(
    model: Trained, labeled: Labeled, pixels: Pixels, positions: NDArray[np.int64], machine: Machine, check: ExpertCheck
) -> float | None:
    """20-NN accuracy among the labeled images at these positions, split 70/30; None where one class is left."""
    train, test, dropped = stratified(labeled.labels[positions], 0.7, check.seed)
    if len(np.unique(labeled.labels[positions])) - len(dropped) < 2:
        return None
    x = encode(model.net, model.input_spec, pixels, machine, positions=positions)
    y = torch.tensor(labeled.labels[positions])
    return knn(x[train], y[train], x[test], y[test], ks=(20,), precision=machine.precision)[20]
