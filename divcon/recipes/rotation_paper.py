"""RotNet as in its paper: 30 ImageNet-epochs, SGD, batch 192, the rate to a tenth after 10 and 20.

    divcon run DATA out=RUN recipe=rotation_paper encoder=resnet50 size=224 batch_size=192

Expected: the paper's linear accuracy on ImageNet is 38.7 (AlexNet, its third layer); ResNet-50's is 48.9 in ClusterFit's
table. Not run by us. With epochs=N, another budget; encoder and size are derived from the machine unless they are typed.

AlexNet gives way to any encoder. Settings and numbers are cited from memory.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "rotation prediction (RotNet) with its paper's settings"
defaults: dict[str, Any] = {"batch_size": 192, "views": "crop"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("rotation"),
        n,
        imagenet_epochs=30,
        optimizer="sgd",
        lr=0.01 * 256 / 192,
        weight_decay=5e-4,
        warmup=0,
        drops=(1 / 3, 2 / 3),
    )
    return Single(base=base)
