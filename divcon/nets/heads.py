"""The small networks that sit on an encoder while it learns (DnC section 3.1 and figure 3)."""

from torch import Tensor, nn

from .norm import BatchNorm


class Projector(nn.Module):
    """Linear, batch norm, ReLU: the hidden layer; then linear and, by default, a last batch norm.

    MoCLR's ends with batch norm; BYOL's does not (`norm_output=False`), and MoCo's has none (`norm_hidden=False` too).
    """

    def __init__(self, dim_in: int, hidden: int, dim: int, *, norm_hidden: bool = True, norm_output: bool = True):
        super().__init__()
        norm = [BatchNorm(hidden)] if norm_hidden else []
        self.into = nn.Sequential(nn.Linear(dim_in, hidden, bias=not norm_hidden), *norm, nn.ReLU())
        last = [BatchNorm(dim, affine=False)] if norm_output else []
        self.out = nn.Sequential(nn.Linear(hidden, dim, bias=not norm_hidden), *last)

    def forward(self, pool: Tensor) -> Tensor:
        projection: Tensor = self.out(self.into(pool))
        return projection


def regressor(dim_in: int, hidden: int, dim: int) -> nn.Sequential:
    """What predicts a teacher's projection from the student's: no batch norm at its end (DnC section 3.3)."""
    return nn.Sequential(
        nn.Linear(dim_in, hidden, bias=False), BatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, dim)
    )  # fmt: skip
