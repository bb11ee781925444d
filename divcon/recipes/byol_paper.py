"""BYOL as in its paper: 1000 ImageNet-epochs, LARS, batch 4096.

    divcon run DATA out=RUN recipe=byol_paper encoder=resnet50 size=224 batch_size=4096 views=byol

Expected: the paper's linear accuracy on ImageNet is 74.3. Not run by us. With epochs=N, another budget; encoder and
size are derived from the machine unless they are typed.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "BYOL with its paper's settings, 1000 ImageNet-epochs"
defaults: dict[str, Any] = {"batch_size": 4096, "views": "byol"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("byol"),
        n,
        imagenet_epochs=1000,
        optimizer="lars",
        lr=0.2,
        weight_decay=1.5e-6,
        momentum=0.996,
        hidden=4096,
        dim=256,
    )
    return Single(base=base)
