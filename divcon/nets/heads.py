"""The heads on an encoder during its training: projectors and regressors (DnC section 3.1 and figure 3)."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from .batch_norm import BatchNorm

MAX_FEATURES = 65_536  # an encoder.json from a stranger may ask for any number


@dataclass(frozen=True)
class ProjectorSpec:
    """The options of a projector; with dim=0 there is none."""

    hidden: Annotated[int, Field(ge=0, le=MAX_FEATURES)] = 0
    dim: Annotated[int, Field(ge=0, le=MAX_FEATURES)] = 0
    layers: Annotated[int, Field(ge=2, le=16)] = 2
    norm_hidden: bool = True
    norm_output: bool = True


class Projector(nn.Module):
    """Projects features [B, dim_in] to [B, dim] by a perceptron of `layers` linear layers.

    Each hidden layer has `hidden` features: linear, batch norm, ReLU. The output is linear with a batch norm. MoCLR's
    projector has both norms; BYOL's has none at its output (`norm_output=False`), MoCo's none at all
    (`norm_hidden=False` too). With `hidden=0` there is one linear layer.
    """

    def __init__(
        self, dim_in: int, hidden: int, dim: int, *, layers: int = 2, norm_hidden: bool = True, norm_output: bool = True
    ):
        super().__init__()
        self.into = nn.Sequential(*(_hidden(dim_in, hidden, norm_hidden) if hidden else []))
        more = [part for _ in range(layers - 2) for part in _hidden(hidden, hidden, norm_hidden)]
        last = [BatchNorm(dim, affine=False)] if norm_output else []
        self.out = nn.Sequential(*more, nn.Linear(hidden or dim_in, dim, bias=not (hidden and norm_hidden)), *last)

    def forward(self, pool: Tensor) -> Tensor:
        projection: Tensor = self.out(self.into(pool))
        return projection


def _hidden(dim_in: int, dim: int, norm: bool) -> list[nn.Module]:
    return [nn.Linear(dim_in, dim, bias=not norm), *([BatchNorm(dim)] if norm else []), nn.ReLU()]


def regressor(dim_in: int, hidden: int, dim: int) -> nn.Sequential:
    """Return a head that predicts a teacher's projection from the student's; no batch norm at its end (DnC section 3.3)."""
    return nn.Sequential(nn.Linear(dim_in, hidden, bias=False), BatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, dim))
