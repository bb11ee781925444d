"""Rows held whole in the memory of a GPU: what `rows.Rows` does, in plain torch."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from .rows import SCALE, power_of_two, refuse

LEVEL = 2.0**-16  # scores closer than this, for vectors of length one, may be float32's rounding and no more
CHUNK = 16384


class Held:
    """A float32 copy of the features on their device, of length one if by angle."""

    def __init__(self, source: Tensor, spherical: bool, directed: bool = False) -> None:
        lengths = source.double().norm(dim=1).cpu().numpy()
        refuse(~np.isfinite(lengths), directed & (lengths <= 1e-12))
        self.x, self.device = F.normalize(source.float()) if spherical else source.float(), source.device
        self.longest = 1.0 if spherical else float(lengths.max())
        self.unit = power_of_two(self.longest)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, positions: Int64[np.ndarray, " m"]) -> Float32[Tensor, "m d"]:
        return self.x[torch.from_numpy(positions).to(self.device)]

    def relabel(
        self, centroids: Float32[Tensor, "k d"], labels: Int64[Tensor, " n"], total: Int64[Tensor, "k d"] | None = None
    ) -> int:
        found = self._nearest(centroids)
        moved = int((found != labels).sum())
        labels.copy_(found)
        if total is not None:
            total.zero_()
            for rows, own in zip(torch.split(self.x, CHUNK), torch.split(labels, CHUNK)):
                total.index_add_(0, own, (rows * (SCALE / self.unit)).round().long())
        return moved

    def squared(self, points: Float32[Tensor, "k d"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
        return _squared(self.x, torch.arange(len(self), device=self.device), points, labels)

    def _nearest(self, centroids: Tensor) -> Int64[Tensor, " n"]:
        """argmin_c |x - c|^2 = argmax_c x.c - |c|^2 / 2, with x and c measured from the centroids' mean, so that little
        is lost when all lie far from the origin."""
        origin = centroids.mean(0)
        shifted = centroids - origin
        half, longest = shifted.square().sum(1) / 2, shifted.norm(dim=1).max()
        found = []
        for rows in torch.split(self.x, CHUNK):
            near = rows - origin
            scores = torch.addmm(-half, near, shifted.T)
            best, labels = scores.max(1)
            margin = LEVEL * longest * (near.norm(dim=1) + longest)
            level = scores >= (best - margin)[:, None]
            if int(level.count_nonzero()) > len(rows):
                _decide(labels, rows, centroids, level)
            found.append(labels)
        return torch.cat(found)


def _decide(labels: Tensor, x: Tensor, centroids: Tensor, level: Bool[Tensor, "n k"]) -> None:
    """Set the labels of the rows that have more than one candidate, by exact distances; the first of equals."""
    torn = (level.sum(1) > 1).nonzero().flatten()
    row, cluster = level[torn].nonzero(as_tuple=True)
    far = torch.full((len(torn), len(centroids)), torch.inf, dtype=torch.float64, device=x.device)
    far[row, cluster] = _squared(x, torn[row], centroids, cluster)
    labels[torn] = far.argmin(1)


def _squared(x: Tensor, rows: Tensor, centroids: Tensor, labels: Tensor) -> Float64[Tensor, " m"]:
    """|x[rows_i] - centroids[labels_i]|^2 for each i, in float64, each added up by itself."""
    pairs = zip(torch.split(rows, block := max(1, 2**19 // x.shape[1])), torch.split(labels, block))
    return torch.cat([(x[i] - centroids[c]).double().square().sum(1) for i, c in pairs])


def nearest(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "n d"], k: int, chunk: int
) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The k most similar rows to each query, best first; of equals, the lower index."""
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
