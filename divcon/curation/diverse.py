"""Pick images that cover a collection: as many clusters as images, and the image nearest to each centroid.

This is how batches of active learning are made diverse (Zhdanov 2019, arXiv 1901.05954). The farthest-first choice of
core-sets (Sener & Savarese 2018, arXiv 1708.00489) takes outliers first, and with few labels it is worse than a random
choice (Hacohen et al. 2022, arXiv 2202.02794).
"""

import numpy as np

from ..clustering.hierarchy import kmeans_in_two_steps, nearest_members
from ..files.text import counted
from ..machine import Precision
from .picks import Picks, Whitened


def diverse(x: Whitened, n: int, *, seed: int, precision: Precision = "fp32") -> Picks:
    """Return n images, the one of the largest cluster first; fewer if fewer images look different to the network."""
    level = kmeans_in_two_steps(x, n, seed=seed, precision=precision)
    sizes = np.bincount(level.labels, minlength=level.k)
    nearest = nearest_members(level.labels, level.distances, 1)
    clusters = np.argsort(-sizes, kind="stable")
    reasons = [
        f"nearest to the center of cluster {cluster} of {level.k}; {_images(int(sizes[cluster]))} in it"
        for cluster in clusters.tolist()
    ]
    positions = nearest[clusters]
    scores = (1 - level.distances[positions]).astype(np.float32)
    return Picks(
        positions,
        clusters,
        scores,
        reasons,
        f"k-means with {counted(level.k, 'cluster')}, and the image nearest to each centroid; the largest cluster first",
        "cosine to the centroid of the cluster",
    )


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"
