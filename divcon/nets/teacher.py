"""A trained network as a target for another."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .net import Layer, Net, width


class Teacher(nn.Module):
    """What a frozen net sees at a place. The projection ends with batch norm as it is (DnC section 3.3); to another place
    the same is done here: each feature minus its `mean`, over its `spread`, as the net usually sees them, where the spread
    is such that what it sees is of length 1 in the mean (of squares), as normalized projections are."""

    mean: Tensor
    spread: Tensor

    def __init__(self, net: Net, layer: Layer = "projection", usual: Float[Tensor, "n d"] | None = None):
        super().__init__()
        self.net, self.layer = net.requires_grad_(False).eval(), layer
        self.dim = int(net.shape["dim"]) if layer == "projection" else width(net.encoder)
        assert (usual is None) == (layer == "projection"), "a projection is normalized already; a pool by what is usual"
        features = torch.zeros(1, self.dim) if usual is None else usual
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("spread", torch.ones(self.dim) if usual is None else _spread(features))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        with torch.no_grad():
            return self.standardized(self.net(images, self.layer))

    def standardized(self, seen: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return (seen - self.mean) / self.spread


def _spread(features: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """Each feature's standard deviation times the root of their number; one that hardly moves is not blown up."""
    spread = features.std(0)
    return spread.clamp(min=1e-3 * float(spread.max()) + 1e-12) * math.sqrt(features.shape[1])
