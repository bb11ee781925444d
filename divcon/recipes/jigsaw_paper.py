"""Jigsaw puzzles as in the paper: 350,000 steps of 256, SGD, 1,000 orders of the tiles.

    divcon run DATA out=RUN recipe=jigsaw_paper encoder=resnet50 size=224 batch_size=256

Expected: a ResNet-50 has 46.0 linear accuracy on ImageNet in ClusterFit's table; the paper's own numbers are AlexNet's. Not
run by us. With epochs=N, another budget; encoder and size are derived from the machine unless they are typed.

The view that is cut is as large as the recipe's (zoom=1): at 224 pixels, the paper's tiles of 64 but for rounding. AlexNet
gives way to any encoder. When the rate falls is not known to us: by a cosine here. Settings are cited from memory.
"""

from typing import Any

from ..pipelines.single import Single
from ..train.schedules import IMAGENET
from . import Options
from ._paper import alone

about = "jigsaw puzzles with the paper's settings"
defaults: dict[str, Any] = {"batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("jigsaw"),
        n,
        imagenet_epochs=350_000 * 256 / IMAGENET,
        optimizer="sgd",
        lr=0.01,
        weight_decay=5e-4,
        warmup=0,
        permutations=1000,
        hidden=4096,
        zoom=1,
    )
    return Single(base=base)
