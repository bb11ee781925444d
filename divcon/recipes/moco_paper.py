"""MoCo v2 as in its paper: 800 ImageNet-epochs, SGD, batch 256, a queue of 65,536.

    divcon run DATA out=RUN recipe=moco_paper encoder=resnet50 size=224 batch_size=256 views=moco

Expected: the paper's linear accuracy on ImageNet is 71.1. Not run by us. With epochs=N, another budget; encoder and
size are derived from the machine unless they are typed.

Biases and batch norms are not decayed; in the authors' code they are. A small collection shortens the queue.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "MoCo v2 with its paper's settings, 800 ImageNet-epochs"
defaults: dict[str, Any] = {"batch_size": 256, "views": "moco"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("moco"),
        n,
        imagenet_epochs=800,
        optimizer="sgd",
        lr=0.03,
        weight_decay=1e-4,
        warmup=0,
        hidden=2048,
        dim=128,
    )
    return Single(base=base)
