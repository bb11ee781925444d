"""An encoder with the projector it is trained through."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from .heads import Projector

Place = Literal["pool", "hidden", "projection"]


class Net(nn.Module):
    """Three places from which to look at images: the encoder's `pool`, the projector's `hidden` layer (after
    batch norm and ReLU) and its `projection`. Without a projector (hidden=0) the three are one."""

    def __init__(
        self, encoder: nn.Module, *, hidden: int = 0, dim: int = 0, norm_hidden: bool = True, norm_output: bool = True
    ):  # fmt: skip
        super().__init__()
        self.encoder = encoder
        norms = {"norm_hidden": norm_hidden, "norm_output": norm_output}
        self.shape = {"hidden": hidden, "dim": dim, **norms}
        self.projector = Projector(width(encoder), hidden, dim, **norms) if hidden else None

    def forward(self, images: Float[Tensor, "b 3 h w"], at: Place = "projection") -> Float[Tensor, "b d"]:
        pool: Tensor = self.encoder(images)
        if at == "pool" or self.projector is None:
            return pool.float()
        hidden = self.projector.into(pool)
        seen: Tensor = hidden if at == "hidden" else self.projector.out(hidden)
        return seen.float()


def width(encoder: nn.Module) -> int:
    """How many features the encoder gives for an image."""
    features = encoder.num_features
    assert isinstance(features, int), "an encoder says how many features it gives, as timm's do: num_features"
    return features
