"""SEER as in the paper (https://arxiv.org/abs/2103.01988): SwAV on a RegNetY, one pass over images that nobody chose.

    divcon run DATA out=RUN recipe=seer_paper encoder=regnety_320 size=224 batch_size=8192 views=swav precision=bf16

Expected: the paper's linear accuracy on ImageNet after 10^9 images is 74.0 with RegNetY-32GF (regnety_320) and 77.5 with its
256GF (regnety_2560; regnety_640 and regnety_1280 lie between). Not run by us. Views are 2 x 224 + 4 x 96; the blocks of the
encoder are done again for the gradient, and base.recompute=false saves that time where there is the memory. The paper warms
up for 8,000 steps, from 0.15 to 9.6, and ends at 0.0096: ours begins and ends at 0, and warms up for ten ImageNet-epochs.
"""

from dataclasses import replace
from typing import Any

from ..nets.encoder import SLIM
from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "SEER to the letter of the paper: SwAV on a RegNetY, one pass over the data"
defaults: dict[str, Any] = {"encoder": "regnety_320", "size": 224, "batch_size": 8192, "views": "swav"}


def recipe(options: Options, n: int) -> Single:
    once = options if options.epochs or options.imagenet_epochs else replace(options, epochs=1.0)
    base = alone(
        replace(once, method="swav"),
        n,
        imagenet_epochs=1,
        optimizer="larc",
        lr=0.3,
        weight_decay=1e-5,
        hidden=8192,
        dim=256,
        layers=3,
        norm_hidden=False,
        prototypes=16_000,
        sinkhorn=10,
        crops=4,
    )
    return Single(base=replace(base, recompute=options.encoder not in SLIM))
