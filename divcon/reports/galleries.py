"""Which images of a cluster a report shows: the nearest to the centroid, those at the border, and some at random."""

import numpy as np
from jaxtyping import Float32, Int64

from ..rng import uniforms

EACH = 8  # images of a gallery
MOST_CLUSTERS = 24  # clusters with galleries, the largest first
KINDS = ("nearest the centroid", "at the border", "at random")

Positions = Int64[np.ndarray, " m"]


def gallery_of(
    members: Positions, distances: Float32[np.ndarray, " n"], seed: int, count: int = EACH
) -> list[Positions]:
    """Return the positions of the images of a cluster to show, for each of KINDS.

    `members` are the positions in the cluster. The nearest come first, the farthest first at the border. Random ones are
    those with the smallest random number of (seed, position).
    """
    order = members[np.argsort(distances[members], kind="stable")]
    drawn = uniforms((seed, "gallery"), members, 1)[:, 0]
    random = members[np.sort(np.argsort(drawn, kind="stable")[:count])]
    return [order[:count], order[::-1][:count], random]


def largest(sizes: Int64[np.ndarray, " k"], count: int = MOST_CLUSTERS) -> list[int]:
    """Return the numbers of the largest clusters, in rising order."""
    return sorted(np.argsort(-sizes, kind="stable")[:count].tolist())
