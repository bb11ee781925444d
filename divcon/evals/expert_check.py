"""Measures of how well a model knows the images of a cluster: an expert that beats the base there shows that dividing pays."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from torch import Tensor

from ..data.labeled.labeled import Labeled
from ..data.labeled.layout import Split
from ..data.pixels.pixels import Pixels
from ..data.views.presets import mild
from ..machine import Machine
from ..nets.net import Layer
from ..nets.trained import Trained
from ..train.encode import encode
from .knn import knn
from .split import stratified
from .unlabeled import agreement


@dataclass(frozen=True, kw_only=True)
class ExpertCheck:
    """The options of the check.

    Agreement is measured with `neighbors` on at most so many `images` of each cluster; with `labels`, the path of a
    labeled folder, kNN accuracy is measured too. `split` is the layout of that folder.
    """

    images: Annotated[int, Field(ge=2)] = 2000
    neighbors: PositiveInt = 10
    labels: str | None = None
    split: Split = "auto"
    seed: int = 0


def agreement_on(
    model: Trained, pixels: Pixels, positions: NDArray[np.int64], machine: Machine, check: ExpertCheck
) -> float:
    """Return the agreement (0..1) of the model's pools of two random views of the images at these positions."""
    a, b = two_views(model, pixels, positions, machine, check.seed)
    return agreement(a, b, min(check.neighbors, len(positions) - 1), precision=machine.precision)


def two_views(
    model: Trained,
    pixels: Pixels,
    positions: NDArray[np.int64],
    machine: Machine,
    seed: int,
    layer: Layer = "pool",
) -> tuple[Float[Tensor, "m d"], Float[Tensor, "m d"]]:
    """Return the features of two random views of the images at these positions."""
    net, spec = model.net, model.input_spec
    a, b = (
        encode(net, spec, pixels, machine, layer=layer, positions=positions, view=view, purpose=(seed, "check", i))
        for i, view in enumerate(mild(spec.size))
    )
    return a, b


def knn_on(
    model: Trained, labeled: Labeled, pixels: Pixels, positions: NDArray[np.int64], machine: Machine, check: ExpertCheck
) -> float | None:
    """Return the 20-NN accuracy (0..1) on the labeled images at these positions, split 70/30.

    Returns None if fewer than two classes have two images there.
    """
    labels = labeled.labels[positions]
    train, test, dropped = stratified(labels, 0.7, check.seed)
    if len(np.unique(labels)) - len(dropped) < 2:
        return None
    x, y = encode(model.net, model.input_spec, pixels, machine, positions=positions), torch.tensor(labels)
    return knn(x[train], y[train], x[test], y[test], ks=(20,), precision=machine.precision)[20]
