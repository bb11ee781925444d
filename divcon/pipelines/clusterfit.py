"""ClusterFit (https://arxiv.org/abs/1912.03330)."""

from dataclasses import dataclass

from ..data.images import Images
from ..nets.trained import Trained
from ..runs.run import Run
from ..stages.classify import Classification, classify
from ..stages.cluster import Divide, divide
from ..stages.pretrain import Pretrain, pretrain


@dataclass(frozen=True, kw_only=True)
class ClusterFit:
    """A base by any method, many small clusters of what it sees, and a second network that learns to tell them apart."""

    base: Pretrain
    clusters: Divide
    refit: Classification


def clusterfit(run: Run, images: Images, recipe: ClusterFit) -> Trained:
    """ClusterFit (https://arxiv.org/abs/1912.03330): what a base sees is put into clusters, and a second network, which
    begins anew, learns each image's cluster."""
    base = run.stage("base", pretrain, images, recipe.base)
    clusters = run.stage("clusters", divide, base, images, recipe.clusters)
    return run.stage("refit", classify, images, clusters, recipe.refit)
