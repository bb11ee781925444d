"""The nearest rows by cosine on a GPU, in plain torch."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor

BLOCK_FACTOR = 16  # a block of the bank has this many rows for each query of a chunk


def nearest(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "n d"], k: int, chunk: int
) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """Return the cosines and the numbers of the k rows of the bank nearest to each query, the nearest first; of equals,
    the lower number first. `chunk` queries are searched at a time."""
    rows = F.normalize(bank.float())
    found = [_search(F.normalize(part.float()), rows, k, BLOCK_FACTOR * chunk) for part in torch.split(queries, chunk)]
    return torch.cat([s for s, _ in found]), torch.cat([i for _, i in found])


def _search(queries: Tensor, bank: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
    """Merge the k nearest rows of each block of the bank into those of the blocks before; ties keep the order of the
    bank."""
    similarity = queries.new_empty(len(queries), 0)
    index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start, rows in zip(range(0, len(bank), block), torch.split(bank, block)):
        s, i = _top(queries @ rows.T, min(k, len(rows)))
        similarity, order = torch.cat([similarity, s], 1).sort(dim=1, descending=True, stable=True)
        index = torch.cat([index, i + start], 1).gather(1, order)
        similarity, index = similarity[:, :k], index[:, :k]
    return similarity, index


def _top(s: Float32[Tensor, "q n"], k: int) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """Return the k largest of each row, in the order of their columns; of equals, the first columns."""
    values, index = s.topk(min(k + 1, s.shape[1]))
    tied = values[:, k - 1] == values[:, -1]  # the k-th equals the next one: topk takes any of them
    if s.shape[1] > k and tied.any():
        index[tied, :k] = _first_of_equals(s[tied], values[tied, k - 1 : k], k)
    index = index[:, :k].sort(dim=1).values
    return s.gather(1, index), index


def _first_of_equals(s: Tensor, least: Tensor, k: int) -> Int64[Tensor, "q k"]:
    """Return k columns of each row: those above `least`, then the first of those that equal it."""
    above, equal = s > least, s == least
    taken = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
    return taken.nonzero()[:, 1].view(len(s), k)
