"""ClusterFit (https://arxiv.org/abs/1912.03330): a second network learns the clusters of a first one's features.

    divcon run DATA out=RUN recipe=clusterfit epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 1.2 minutes, 20-NN / linear 59.3 /
60.3 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.5 minutes, 72.2 / 78.7 (69.1 / 74.8). One seed, while other work
ran; docs/results/methods.md has all methods side by side.

Half of the budget goes to the first network, by MoCLR or any method= that is typed. The other half goes to the second, which
starts from random weights. There is a cluster for 64 images, up to the paper's 16,000, which has 80 images to a cluster. With
one for eight images, a short training learned less than the untrained encoder knows (LOG.md). k-means is by cosine; the paper's
is by distance between rows of length one. Encoding the collection for k-means is not in the budget.
"""

from ..methods.settings import IMAGES_PER_CLUSTER
from ..pipelines.clusterfit import ClusterFit
from ..stages.cluster import Divide
from .options import Options
from .small import small_classification, small_pretrain

MOST_CLUSTERS = 16_000  # the paper's

about = "ClusterFit: a second network learns thousands of clusters of the first's"
defaults: dict[str, object] = {}


def recipe(options: Options, n: int) -> ClusterFit:
    """The settings for n images."""
    half = options.samples_seen(n) / 2
    k = max(2, min(MOST_CLUSTERS, n // IMAGES_PER_CLUSTER))
    return ClusterFit(
        base=small_pretrain(options, n, samples_seen=half),
        clusters=Divide(k=k, layer="pool", rounds=50, restarts=1, smallest=1, seed=options.seed),
        refit=small_classification(options, samples_seen=half, seed_offset=1),
    )
