"""Rows of features in the memory of a GPU: the same operations as `rows.Rows`, in plain torch."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray
from torch import Tensor

from .ranks import Shares
from .rows import SCALE, check_lengths, power_of_two

TIE = 2.0**-16  # scores of unit vectors that are closer than this may differ by float32's rounding alone
BLOCK = 16384  # rows


class DeviceRows:
    """A float32 copy of features [n, d] on their device, of length one when `spherical`.

    If `shared`, all ranks are given the same features, each on its own device, and each works on its own rows, those of
    `shares.own`. Raises DataError when there are no rows, when a row is not finite, and, if `refuse_zero`, when a row is all zero.
    """

    def __init__(self, source: Tensor, spherical: bool, refuse_zero: bool = False, shared: bool = True) -> None:
        lengths = source.double().norm(dim=1).cpu().numpy()
        check_lengths(lengths, refuse_zero, Shares.of(len(source), shared=False))
        self.x, self.device = F.normalize(source.float()) if spherical else source.float(), source.device
        self.shares = Shares.of(len(source), shared)
        self.own = self.x[self.shares.own]
        self.longest = 1.0 if spherical else float(lengths.max())
        self.unit = power_of_two(self.longest)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, positions: Int64[ndarray, " m"]) -> Float32[Tensor, "m d"]:
        """Return the rows at these positions, of length one when spherical."""
        return self.x[torch.from_numpy(positions).to(self.device)]

    def relabel(
        self, centroids: Float32[Tensor, "k d"], labels: Int64[Tensor, " b"], total: Int64[Tensor, "k d"] | None = None
    ) -> int:
        """Set the label of each own row to its nearest centroid, the first of equals, and return how many labels changed.

        `total` is set to the sum of each cluster's own rows, as integers in units of `unit` / SCALE.
        """
        nearest = self._nearest(centroids)
        moved = int((nearest != labels).sum())
        labels.copy_(nearest)
        if total is not None:
            total.zero_()
            for rows, own in zip(torch.split(self.own, BLOCK), torch.split(labels, BLOCK)):
                total.index_add_(0, own, (rows * (SCALE / self.unit)).round().long())
        return moved

    def squared_distances(self, points: Float32[Tensor, "k d"], labels: Int64[Tensor, " b"]) -> Float64[Tensor, " b"]:
        """Return |x_i - points[labels_i]|^2 for each own row, summed in float64."""
        return _squared_distances(self.own, torch.arange(len(labels), device=self.device), points, labels)

    def _nearest(self, centroids: Tensor) -> Int64[Tensor, " b"]:
        """Return argmin_c |x - c|^2 = argmax_c x.c - |c|^2 / 2 for each own row.

        x and c are measured from the mean of the centroids, so that little is lost when all are far from the origin.
        """
        origin = centroids.mean(0)
        shifted = centroids - origin
        half, longest = shifted.square().sum(1) / 2, shifted.norm(dim=1).max()
        found = []
        for rows in torch.split(self.own, BLOCK):
            near = rows - origin
            scores = torch.addmm(-half, near, shifted.T)
            best, labels = scores.max(1)
            margin = TIE * longest * (near.norm(dim=1) + longest)
            candidates = scores >= (best - margin)[:, None]
            if int(candidates.count_nonzero()) > len(rows):
                _choose(labels, rows, centroids, candidates)
            found.append(labels)
        return torch.cat(found)


def _choose(labels: Tensor, x: Tensor, centroids: Tensor, candidates: Bool[Tensor, "n k"]) -> None:
    """Set the labels of rows with several candidates by exact distances; the first of equals."""
    tied = (candidates.sum(1) > 1).nonzero().flatten()
    row, cluster = candidates[tied].nonzero(as_tuple=True)
    distances = torch.full((len(tied), len(centroids)), torch.inf, dtype=torch.float64, device=x.device)
    distances[row, cluster] = _squared_distances(x, tied[row], centroids, cluster)
    labels[tied] = distances.argmin(1)


def _squared_distances(x: Tensor, rows: Tensor, centroids: Tensor, labels: Tensor) -> Float64[Tensor, " m"]:
    """Return |x[rows_i] - centroids[labels_i]|^2 for each i, each summed in float64 by itself."""
    pairs = zip(torch.split(rows, block := max(1, 2**19 // x.shape[1])), torch.split(labels, block))
    return torch.cat([(x[i] - centroids[c]).double().square().sum(1) for i, c in pairs])
