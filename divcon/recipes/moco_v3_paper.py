"""MoCo v3 as in its paper, for a ResNet: 1000 ImageNet-epochs, LARS, batch 4096.

    divcon run DATA out=RUN recipe=moco_v3_paper encoder=resnet50 size=224 batch_size=4096 views=moco_v3

Expected: the paper's linear accuracy on ImageNet is 74.6. Not run by us. With epochs=N, another budget; encoder and
size are derived from the machine unless they are typed.

For 300 epochs and fewer the paper has base.options.momentum=0.99 and base.weight_decay=1e-6.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "MoCo v3 with its paper's settings, 1000 ImageNet-epochs"
defaults: dict[str, Any] = {"batch_size": 4096, "views": "moco_v3"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("moco_v3"),
        n,
        imagenet_epochs=1000,
        optimizer="lars",
        lr=0.3,
        weight_decay=1.5e-6,
        momentum=0.996,
        hidden=4096,
        dim=256,
    )
    return Single(base=base)
