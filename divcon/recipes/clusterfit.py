"""ClusterFit (https://arxiv.org/abs/1912.03330): a second network learns the clusters of what a first one sees.

    divcon run DATA out=RUN recipe=clusterfit epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 1.2 minutes, 20-NN / linear 59.3 /
60.3 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.5 minutes, 72.2 / 78.7 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

Half of the budget goes to the first network, by MoCLR or any method= that is typed, and half to the second, which begins
anew. There is a cluster for 64 images, up to the paper's 16,000, which has 80 images to a cluster. With eight, a short
training learned less than the untrained encoder knows (LOG.md, the rivals). k-means is by cosine, the paper's by distance between
rows of length one. The look that is clustered is not in the budget.
"""

from typing import Any

from ..pipelines.clusterfit import ClusterFit
from ..stages.cluster import Divide
from . import Options
from ._small import SHOWN, alone, by_labels

MOST = 16_000  # clusters: the paper's

about = "ClusterFit: a second network learns thousands of clusters of the first's"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> ClusterFit:
    half = options.samples_seen(n) / 2
    clusters = Divide(k=clusters_for(n), layer="pool", rounds=50, restarts=1, smallest=1, seed=options.seed)
    refit = by_labels(options, images=half, seed=options.seed + 1)
    return ClusterFit(base=alone(options, n, images=half), clusters=clusters, refit=refit)


def clusters_for(n: int) -> int:
    return max(2, min(MOST, n // SHOWN))
