"""SimCLR as in its paper: 1000 ImageNet-epochs, LARS, batch 4096.

    divcon run DATA out=RUN recipe=simclr_paper encoder=resnet50 size=224 batch_size=4096 views=simclr

Expected: the paper's linear accuracy on ImageNet is 69.3. Not run by us. With epochs=N, another budget; encoder and
size are derived from the machine unless they are typed.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "SimCLR with its paper's settings, 1000 ImageNet-epochs"
defaults: dict[str, Any] = {"batch_size": 4096, "views": "simclr"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("simclr"), n, imagenet_epochs=1000, optimizer="lars", lr=0.3, weight_decay=1e-6, hidden=2048, dim=128
    )
    return Single(base=base)
