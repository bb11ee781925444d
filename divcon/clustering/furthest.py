"""The rows that are furthest from a set of points, taken one after the other, each then a point of the set."""

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from .device_rows import DeviceRows
from .rows import Rows

EACH, SPARE = 4, 64  # candidates for each row that is taken, and further ones

AnyRows = Rows | DeviceRows


def distances_from(rows: AnyRows, points: Float32[Tensor, "m d"]) -> Float64[Tensor, " b"]:
    """Return the squared distance of each own row from the nearest of the points."""
    labels = torch.zeros(len(rows.own), dtype=torch.int64, device=rows.device)
    if len(points) > 1:
        rows.relabel(points, labels)
    return rows.squared_distances(points, labels)


def furthest_rows(rows: AnyRows, distances: Float64[Tensor, " b"], count: int) -> Float32[Tensor, "m d"]:
    """Return `count` rows: each is the one with the largest distance, the first of equals, and then no row is further than
    from it. `distances` are those of the own rows at the beginning.

    Distances only fall. So the next row is among those that were furthest a while ago, as long as one of them is still
    further than all others were.
    """
    taken = list[Tensor]()
    while len(taken) < count:
        positions, longest, others = _longest(rows, distances, SPARE + EACH * (count - len(taken)))
        new = _take(rows.take(positions), longest, others, count - len(taken))
        distances = torch.minimum(distances, distances_from(rows, new))
        taken += new
    return torch.stack(taken)


def _longest(
    rows: AnyRows, distances: Float64[Tensor, " b"], most: int
) -> tuple[Int64[np.ndarray, " m"], Float64[Tensor, " m"], float]:
    """Return the rows of all ranks with the largest distances, in rising order, their distances, and the largest distance of
    the other rows. Of equal distances, those of the first rows count as larger."""
    order = torch.argsort(distances, descending=True, stable=True)[: most + 1]
    sizes = [min(size, most + 1) for size in rows.shares.sizes]
    positions = rows.shares.gather(order + rows.shares.own.start, sizes)
    longest = rows.shares.gather(distances[order], sizes)
    best = torch.argsort(longest, descending=True, stable=True)  # ranks are in the order of rows, so ties are too
    others = float(longest[best[most]]) if len(best) > most else -1.0
    rising = best[:most][torch.argsort(positions[best[:most]])]
    return positions[rising].cpu().numpy(), longest[rising], others


def _take(
    candidates: Float32[Tensor, "m d"], distances: Float64[Tensor, " m"], others: float, count: int
) -> Float32[Tensor, "t d"]:
    """Return at most `count` of the candidates, one after the other, as long as the next row is among them."""
    rows: AnyRows = (
        Rows(candidates, False, shared=False) if candidates.is_cpu else DeviceRows(candidates, False, shared=False)
    )
    taken = list[Tensor]()
    while len(taken) < count and (not taken or float(distances.max()) > others):
        taken.append(candidates[int(distances.argmax())])
        distances = torch.minimum(distances, distances_from(rows, taken[-1][None]))
    return torch.stack(taken)
