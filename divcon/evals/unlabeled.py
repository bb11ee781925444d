"""What can be said of an encoder without labels."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..clustering.neighbors import nearest
from ..machine import Precision


def agreement(a: Float[Tensor, "n d"], b: Float[Tensor, "n e"], k: int = 10, *, precision: Precision = "fp32") -> float:
    """How far two views of the same images agree on who is near whom, in 0..1: the mean share of an image's k nearest
    by view a that are also among its k nearest by view b.

    Features that know nothing of the image score k / (n - 1): compare it with that. `precision` is that of the search,
    and changes no neighbor.
    """
    assert len(a) == len(b) and k < len(a)
    by_a, by_b = _others(a, k, precision), _others(b, k, precision)
    both = zip(torch.split(by_a, 1024), torch.split(by_b, 1024))
    shared = [(i[:, :, None] == j[:, None, :]).any(2).sum() for i, j in both]
    return int(torch.stack(shared).sum()) / by_a.numel()


def _others(x: Tensor, k: int, precision: Precision) -> Int64[Tensor, "n k"]:
    """The k nearest rows to each row, itself not among them."""
    index = nearest(x, x, k + 1, precision=precision)[1]
    own = index == torch.arange(len(x), device=x.device)[:, None]
    # itself is put last and cut off; where k copies of it came first, the furthest of those goes instead
    last = own.to(torch.uint8).argsort(dim=1, stable=True)
    return index.gather(1, last)[:, :k]


def effective_rank(x: Float[Tensor, "n d"]) -> float:
    """exp of the entropy of the singular values, as shares of their sum (RankMe, arXiv 2210.02885): d when all
    directions are used alike, near 1 when the encoder has collapsed to one."""
    singular = torch.linalg.svdvals(x.double())
    share = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny)
    return float(torch.special.entr(share).sum().exp())
