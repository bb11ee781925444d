"""Does an expert know its own cluster better than the base does? The cheap check that says whether dividing pays."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from ..data.labelled import Labelled
from ..data.layout import Split
from ..data.pixels import Pixels
from ..data.views import mild
from ..fit.looking import encode
from ..machine import Machine
from ..nets.trained import Trained
from .agreement import agreement
from .knn import knn
from .split import stratified


@dataclass(frozen=True, kw_only=True)
class Check:
    """On so many images of each cluster, by so many neighbours; and by the `labels` of a folder, where there are any."""

    images: Annotated[int, Field(ge=2)] = 2000
    neighbours: PositiveInt = 10
    labels: str | None = None
    split: Split = "auto"  # how that folder is laid out
    seed: int = 0


def agreement_on(
    model: Trained, pixels: Pixels, positions: NDArray[np.int64], machine: Machine, check: Check
) -> float:  # fmt: skip
    """Of an image's nearest neighbours in one view, the share that are its neighbours in another, by the pool."""
    a, b = (
        encode(
            model.net, model.sight, pixels, machine, positions=positions, view=view, purpose=(check.seed, "check", i)
        )
        for i, view in enumerate(mild(model.sight.size))
    )
    return agreement(a, b, min(check.neighbours, len(positions) - 1), precision=machine.precision)


def knn_on(
    model: Trained, labelled: Labelled, pixels: Pixels, positions: NDArray[np.int64], machine: Machine, check: Check
) -> float | None:  # fmt: skip
    """20-NN accuracy among the labelled images at these positions, split 70/30; None where one class is left."""
    train, test, dropped = stratified(labelled.labels[positions], 0.7, check.seed)
    if len(np.unique(labelled.labels[positions])) - len(dropped) < 2:
        return None
    x = encode(model.net, model.sight, pixels, machine, positions=positions)
    y = torch.tensor(labelled.labels[positions])
    return knn(x[train], y[train], x[test], y[test], ks=(20,), precision=machine.precision)[20]
