"""ClusterFit (https://arxiv.org/abs/1912.03330): a network learns the clusters that another one's features form."""

from dataclasses import dataclass

from ..data.images import Images
from ..nets.trained import Trained
from ..runs.run import Run
from ..stages.classify import Classification, classify
from ..stages.cluster import Divide, divide
from ..stages.pretrain import Pretrain, pretrain
from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class ClusterFit(Recipe):
    """The recipe of a base by any method, of many small clusters of its features, and of the network that learns them."""

    base: Pretrain
    clusters: Divide
    refit: Classification


def clusterfit(run: Run, images: Images, recipe: ClusterFit) -> Trained:
    """Cluster a collection by the features of a base; a second network, from scratch, learns each image's cluster."""
    base = run.stage("base", pretrain, images, recipe.base)
    clusters = run.stage("clusters", divide, base, images, recipe.clusters)
    return run.stage("refit", classify, images, clusters, recipe.refit)
