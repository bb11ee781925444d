"""The nearest rows by cosine."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor


def nearest(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "n d"], k: int, chunk: int = 1024
) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The k most similar rows of the bank to each query, best first: (cosine, index); of equals, the lower index.

    Memory holds `chunk` x 16 `chunk` similarities at a time, however large the two are.
    """
    assert 1 <= k <= len(bank), f"{k} neighbours of {len(bank)} rows"
    rows = F.normalize(bank.float())
    found = [_of_block(F.normalize(some.float()), rows, k, 16 * chunk) for some in torch.split(queries, chunk)]
    return torch.cat([s for s, _ in found]), torch.cat([i for _, i in found])


def _of_block(queries: Tensor, bank: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    """The best so far, and the best of each next block of the bank, merged: ties keep the order of the bank."""
    similarity = queries.new_empty(len(queries), 0)
    index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start, rows in zip(range(0, len(bank), block), torch.split(bank, block)):
        s, i = _top(queries @ rows.T, min(k, len(rows)))
        similarity, order = torch.cat([similarity, s], 1).sort(dim=1, descending=True, stable=True)
        index = torch.cat([index, i + start], 1).gather(1, order)
        similarity, index = similarity[:, :k], index[:, :k]
    return similarity, index


def _top(s: Float32[Tensor, "q n"], k: int) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The k largest of each row, in the order of their columns; of equals, the first columns."""
    values, index = s.topk(min(k + 1, s.shape[1]))
    torn = values[:, k - 1] == values[:, -1]  # equals on both sides of the line: topk takes any of them
    if s.shape[1] > k and torn.any():
        index[torn, :k] = _first_of_equals(s[torn], values[torn, k - 1 : k], k)
    index = index[:, :k].sort(dim=1).values
    return s.gather(1, index), index


def _first_of_equals(s: Tensor, least: Tensor, k: int) -> Int64[Tensor, "q k"]:
    """The columns above `least`, and as many of the first that equal it as make k."""
    above, equal = s > least, s == least
    taken = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
    return taken.nonzero()[:, 1].view(len(s), k)
