"""ClusterFit as in the paper (https://arxiv.org/abs/1912.03330): K = 16,000, SGD, 105 epochs on the clusters.

    divcon run DATA out=RUN recipe=clusterfit_paper encoder=resnet50 size=224 batch_size=256

Expected: the paper's linear accuracy on ImageNet is 55.2 after Jigsaw (46.0 without, 45.1 with twice the training). Not
run by us. The first network, by MoCLR or any method= that is typed, trains as long as the second, 105 ImageNet-epochs, with
the settings of dnc_3000's base; with epochs=N each has half. Fewer than 128,000 images have fewer clusters: one for eight.
Views are crops and flips, without the paper's jitter of colors. k-means is by cosine; the paper's is by distance between rows
of length one. Encoding the collection for k-means is not in the budget.
"""

from dataclasses import replace

from ..methods.registry import method_named, options_of
from ..methods.settings import PaperSettings
from ..pipelines.clusterfit import ClusterFit
from ..stages.cluster import Divide
from .clusterfit import MOST_CLUSTERS
from .options import Options
from .paper import budget, paper_classification, paper_pretrain

EPOCHS = 105
DROPS = (30 / EPOCHS, 60 / EPOCHS, 90 / EPOCHS, 100 / EPOCHS)

about = "ClusterFit to the letter of the paper: 16,000 clusters"
defaults: dict[str, object] = {"batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> ClusterFit:
    """The settings for n images."""
    half = budget(options, n, 2 * EPOCHS) / 2
    k = min(MOST_CLUSTERS, max(2, n // 8))
    return ClusterFit(
        base=replace(paper_pretrain(options, n, base_settings(options)), samples_seen=half),
        clusters=Divide(k=k, layer="pool", whiten=False, rounds=50, restarts=1, smallest=1, seed=options.seed),
        refit=paper_classification(options, samples_seen=half, warmup=5 / EPOCHS, drops=DROPS, seed_offset=1),
    )


def base_settings(options: Options) -> PaperSettings:
    """The settings of dnc_3000's base, with the widths of the projector that the method has."""
    known = options_of(method_named(options.method))
    widths = dict(zip(("hidden", "dim"), options.heads(), strict=True))
    return PaperSettings(
        imagenet_epochs=2 * EPOCHS,
        optimizer="lars",
        lr=0.3,
        weight_decay=1.5e-6,
        options={name: value for name, value in widths.items() if name in known},
    )
