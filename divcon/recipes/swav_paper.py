"""SwAV as in the paper: 800 ImageNet-epochs of 2 x 224 + 6 x 96 pixels, batch 4096, 3,000 prototypes.

    divcon run DATA out=RUN recipe=swav_paper encoder=resnet50 size=224 batch_size=4096 views=swav

Expected: the paper's linear accuracy on ImageNet is 75.3 (https://arxiv.org/abs/2006.09882, table 1). Not run by us. The
paper's rate begins at 0.3 and ends at 0.0048, ours begins and ends at 0. For a batch of 256 the paper has
base.options.queue=3840, and no warm-up (base.warmup=0) to base.lr=0.6.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import DEFAULTS, alone

about = "SwAV to the letter of the paper, 800 ImageNet-epochs"
defaults: dict[str, Any] = {**DEFAULTS, "views": "swav"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("swav"),
        n,
        imagenet_epochs=800,
        optimizer="larc",
        lr=0.3,
        weight_decay=1e-6,
        hidden=2048,
        dim=128,
        prototypes=3000,
        crops=6,
    )
    return Single(base=base)
