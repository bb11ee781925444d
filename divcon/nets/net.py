"""An encoder with the projector it is trained through."""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .heads import Projector

Layer = Literal["pool", "hidden", "projection"]


class Net(nn.Module):
    """Three places from which to look at images: the encoder's `pool`, the projector's `hidden` layer (after
    batch norm and ReLU) and its `projection`. Where the projector is a linear
    layer (hidden=0) the first two are one, and without a projector (dim=0) all three."""

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
        kind: dict[str, Any] = {"layers": layers, "norm_hidden": norm_hidden, "norm_output": norm_output}
        self.shape = {"hidden": hidden, "dim": dim, **kind}
        self.projector = Projector(width(encoder), hidden, dim, **kind) if dim else None

    def forward(self, images: Float[Tensor, "b 3 h w"], at: Layer = "projection") -> Float[Tensor, "b d"]:
        pool: Tensor = self.encoder(images)
        if at == "pool" or self.projector is None:
            return pool.float()
        hidden = self.projector.into(pool)
        seen: Tensor = hidden if at == "hidden" else self.projector.out(hidden)
        return seen.float()


def by_size(net: Net, views: Sequence[Float[Tensor, "b 3 _ _"]]) -> list[Float[Tensor, "b d"]]:
    """The projection of each view. Views of one size go through the encoder as one batch, all through the projector as
    one, and so through their batch norms (SwAV, appendix A)."""
    runs = [list(run) for _, run in itertools.groupby(views, key=lambda view: view.shape[-1])]
    pools = torch.cat([net.encoder(torch.cat(run)) for run in runs])
    seen: Tensor = pools if net.projector is None else net.projector(pools)
    return list(seen.float().chunk(len(views)))


def width(encoder: nn.Module) -> int:
    """How many features the encoder gives for an image."""
    features = encoder.num_features
    assert isinstance(features, int), "an encoder says how many features it gives, as timm's do: num_features"
    return features
