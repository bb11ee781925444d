"""DeepCluster v2 as in the paper: 800 ImageNet-epochs of 2 x 224 + 6 x 96 pixels, batch 4096, three times 3,000 clusters.

    divcon run DATA out=RUN recipe=deepcluster_v2_paper encoder=resnet50 size=224 batch_size=4096 views=swav

Expected: the authors' linear accuracy on ImageNet is 75.2 (https://github.com/facebookresearch/swav). Not run by us. The
paper's rate begins at 0.3 and ends at 0.0048, ours begins and ends at 0.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import DEFAULTS, alone

about = "DeepCluster v2 to the letter of the paper, 800 ImageNet-epochs"
defaults: dict[str, Any] = {**DEFAULTS, "views": "swav"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("deepcluster_v2"),
        n,
        imagenet_epochs=800,
        optimizer="larc",
        lr=0.3,
        weight_decay=1e-6,
        hidden=2048,
        dim=128,
        clusters=min(3000, max(2, n // 2)),
        crops=6,
    )
    return Single(base=base)
