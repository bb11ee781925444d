"""The small networks that sit on an encoder while it learns (DnC section 3.1 and figure 3)."""

from torch import Tensor, nn

from .batch_norm import BatchNorm


class Projector(nn.Module):
    """Linear, batch norm, ReLU: the hidden layer; as many more of them as there are `layers` above two; then linear and,
    by default, a last batch norm.

    MoCLR's ends with batch norm; BYOL's does not (`norm_output=False`), and MoCo's has none (`norm_hidden=False` too).
    With `hidden=0` there is the last linear layer only.
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
    """What predicts a teacher's projection from the student's: no batch norm at its end (DnC section 3.3)."""
    return nn.Sequential(nn.Linear(dim_in, hidden, bias=False), BatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, dim))
