"""SimCLR v2 as in its paper, but for its memory: 1000 ImageNet-epochs, LARS, batch 4096, a projector of three layers.

    divcon run DATA out=RUN recipe=simclr_v2_paper encoder=resnet50 size=224 batch_size=4096 views=simclr

Expected: the paper's linear accuracy on ImageNet is 71.7 (ResNet-50). Not run by us. With epochs=N, another budget;
encoder and size are derived from the machine unless they are typed.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "SimCLR v2 with its paper's settings, 1000 ImageNet-epochs"
defaults: dict[str, Any] = {"batch_size": 4096, "views": "simclr"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("simclr"),
        n,
        imagenet_epochs=1000,
        optimizer="lars",
        lr=0.3,
        weight_decay=1e-4,
        hidden=2048,
        dim=128,
        layers=3,
    )
    return Single(base=base)
