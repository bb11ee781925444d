"""A trained network whose features are the targets of another network."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .net import Layer, Net, width


class Teacher(nn.Module):
    """Gives the normalized features of a frozen net at a layer.

    A projection ends with batch norm and needs no more (DnC section 3.3). The features of other layers are normalized
    here by their `mean` and `spread`, which come from `sample`, features of the images that the teacher will see.
    Normalized features have a mean square length of 1, like normalized projections.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, net: Net, layer: Layer = "projection", sample: Float[Tensor, "n d"] | None = None):
        super().__init__()
        self.net, self.layer = net.requires_grad_(False).eval(), layer
        self.dim = net.projector_spec.dim if layer == "projection" else width(net.encoder)
        assert (sample is None) == (layer == "projection"), "a sample is needed for layers without batch norm, only"
        features = torch.zeros(1, self.dim) if sample is None else sample
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("spread", torch.ones(self.dim) if sample is None else _spread(features))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        with torch.no_grad():
            return self.normalize(self.net(images, self.layer))

    def normalize(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Return raw features of the net, normalized."""
        return (features - self.mean) / self.spread


def _spread(features: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """Return each feature's standard deviation times the root of d. A nearly constant feature is not amplified."""
    std = features.std(0)
    return std.clamp(min=1e-3 * float(std.max()) + 1e-12) * math.sqrt(features.shape[1])
