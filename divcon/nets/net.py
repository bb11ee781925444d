"""An encoder with its projector, and the three layers that give features."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .heads import Projector, ProjectorSpec

Layer = Literal["pool", "hidden", "projection"]


class Net(nn.Module):
    """An encoder and its projector, with three layers that give features.

    These are the encoder's `pool`, the projector's `hidden` layer (after batch norm and ReLU) and its `projection`. For
    a linear projector (hidden=0) the hidden layer is the pool, and without a projector (dim=0) all three are the pool.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        hidden: int = 0,
        dim: int = 0,
        layers: int = 2,
        norm_hidden: bool = True,
        norm_output: bool = True,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector_spec = ProjectorSpec(hidden, dim, layers, norm_hidden, norm_output)
        self.projector = Projector(width(encoder), **asdict(self.projector_spec)) if dim else None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that differ: those that the net lacks are left out."""
        if self.projector is None:
            return ("pool",)
        return ("pool", "hidden", "projection") if self.projector_spec.hidden else ("pool", "projection")

    def forward(self, images: Float[Tensor, "b 3 h w"], layer: Layer = "projection") -> Float[Tensor, "b d"]:
        pool: Tensor = self.encoder(images)
        if layer == "pool" or self.projector is None:
            return pool.float()
        hidden: Tensor = self.projector.into(pool)
        features: Tensor = hidden if layer == "hidden" else self.projector.out(hidden)
        return features.float()


def by_size(net: Net, views: Sequence[Float[Tensor, "b 3 _ _"]]) -> list[Float[Tensor, "b d"]]:
    """Return the projection of each view.

    Consecutive views of one size go through the encoder as one batch, and all of them through the projector as one
    batch; batch norms use the statistics of these batches (SwAV, appendix A).
    """
    groups = [list(group) for _, group in itertools.groupby(views, key=lambda view: view.shape[-1])]
    pools = torch.cat([net.encoder(torch.cat(group)) for group in groups])
    projections: Tensor = pools if net.projector is None else net.projector(pools)
    return list(projections.float().chunk(len(views)))


def width(encoder: nn.Module) -> int:
    """Return the number of features that the encoder gives for an image."""
    features = encoder.num_features
    assert isinstance(features, int), "an encoder has num_features, as timm's do"
    return features
