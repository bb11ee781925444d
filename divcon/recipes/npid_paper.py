"""Instance recognition as in its paper: 200 ImageNet-epochs, SGD, batch 256, 4,096 rows of noise.

    divcon run DATA out=RUN recipe=npid_paper encoder=resnet50 size=224 batch_size=256 views=npid

Expected: its linear accuracy on ImageNet is 56.5 (ResNet-50, as DnC's table 17 has it). Not run by us. With epochs=N,
another budget; encoder and size are derived from the machine unless they are typed.

Biases and batch norms are not decayed; in the authors' code they are.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "instance recognition (NPID) with its paper's settings"
defaults: dict[str, Any] = {"batch_size": 256, "views": "npid"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("npid"),
        n,
        imagenet_epochs=200,
        optimizer="sgd",
        lr=0.03,
        weight_decay=1e-4,
        warmup=0,
        drops=(0.6, 0.8),
        dim=128,
    )
    return Single(base=base)
