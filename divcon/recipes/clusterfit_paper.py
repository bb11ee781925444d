"""ClusterFit as in the paper (https://arxiv.org/abs/1912.03330): K = 16,000, SGD, 105 epochs on the clusters.

    divcon run DATA out=RUN recipe=clusterfit_paper encoder=resnet50 size=224 batch_size=256

Expected: the paper's linear accuracy on ImageNet is 55.2 after Jigsaw (46.0 without, 45.1 with twice the training). Not
run by us. The first network, by MoCLR or any method= that is typed, has as long a training as the second, 105 ImageNet-
epochs, with the settings of dnc_3000's base; with epochs=N each has half. There are fewer clusters for fewer than
128,000 images: one for eight. Views are crops and flips, without the paper's jitter of colors; k-means is by cosine, the
paper's by distance between rows of length one. The look that is clustered is not in the budget.
"""

from dataclasses import replace
from typing import Any

from ..methods.registry import method_named, options_of
from ..pipelines.clusterfit import ClusterFit
from ..stages.cluster import Divide
from . import Options
from ._paper import DEFAULTS, alone, budget, by_labels
from .clusterfit import MOST

EPOCHS = 105
DROPS = (30 / EPOCHS, 60 / EPOCHS, 90 / EPOCHS, 100 / EPOCHS)

about = "ClusterFit to the letter of the paper: 16,000 clusters"
defaults = {**DEFAULTS, "batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> ClusterFit:
    half = budget(options, n, 2 * EPOCHS) / 2
    known = options_of(method_named(options.method))
    widths: dict[str, Any] = dict(zip(("hidden", "dim"), options.heads(), strict=True))
    whole = alone(
        options,
        n,
        imagenet_epochs=2 * EPOCHS,
        optimizer="lars",
        lr=0.3,
        weight_decay=1.5e-6,
        **{name: value for name, value in widths.items() if name in known},
    )
    clusters = Divide(k=min(MOST, max(2, n // 8)), layer="pool", rounds=50, restarts=1, smallest=1, seed=options.seed)
    refit = by_labels(options, images=half, warmup=5 / EPOCHS, drops=DROPS, seed=options.seed + 1)
    return ClusterFit(base=replace(whole, images=half), clusters=clusters, refit=refit)
