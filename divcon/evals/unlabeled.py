"""Measures of an encoder that need no labels."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..clustering.neighbors import nearest
from ..machine import Precision


def agreement(a: Float[Tensor, "n d"], b: Float[Tensor, "n e"], k: int = 10, *, precision: Precision = "fp32") -> float:
    """Return the mean share (0..1) of an image's k nearest neighbors by view a that are its neighbors by view b too.

    `a` and `b` are the features of two views of the same images. Random features give k / (n - 1). `precision` is that
    of the search and does not change the neighbors.
    """
    assert len(a) == len(b) and k < len(a)
    neighbors_a, neighbors_b = _neighbors(a, k, precision), _neighbors(b, k, precision)
    blocks = zip(torch.split(neighbors_a, 1024), torch.split(neighbors_b, 1024))
    shared = [(i[:, :, None] == j[:, None, :]).any(2).sum() for i, j in blocks]
    return int(torch.stack(shared).sum()) / neighbors_a.numel()


def _neighbors(x: Tensor, k: int, precision: Precision) -> Int64[Tensor, "n k"]:
    """Return the positions of the k nearest rows to each row, without the row itself."""
    index = nearest(x, x, k + 1, precision=precision)[1]
    is_itself = index == torch.arange(len(x), device=x.device)[:, None]
    # the row itself is sorted last and cut off; if k copies of it came first, the furthest copy is cut off instead
    order = is_itself.to(torch.uint8).argsort(dim=1, stable=True)
    return index.gather(1, order)[:, :k]


def rankme(x: Float[Tensor, "n d"]) -> float:
    """Return the effective rank of features: exp of the entropy of their singular values, as shares of their sum (RankMe,
    arXiv 2210.02885). It is between 1 and min(n, d); an encoder that uses more of its dimensions has more."""
    gram = x.double().T @ x.double() if x.shape[1] <= x.shape[0] else x.double() @ x.double().T
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    shares = values / values.sum().clamp(min=1e-300)
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))
