"""Local Aggregation as in its paper: 200 ImageNet-epochs, SGD, batch 128, ten clusterings into 30,000.

    divcon run DATA out=RUN recipe=local_aggregation_paper encoder=resnet50 size=224 batch_size=128 views=npid

Expected: the paper's linear accuracy on ImageNet is 58.8 (ResNet-50, one crop). Not run by us. With epochs=N, another
budget; encoder and size are derived from the machine unless they are typed.

The first 10 of 200 passes, or the same share of another budget, are instance recognition; then the bank is clustered
at the start of each pass. The rate is the paper's 0.03 for its batch of 128.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "Local Aggregation with its paper's settings"
defaults: dict[str, Any] = {"batch_size": 128, "views": "npid"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("local_aggregation"),
        n,
        imagenet_epochs=200,
        optimizer="sgd",
        lr=0.06,
        weight_decay=1e-4,
        warmup=0,
        drops=(0.8, 0.94),
        recognition=0.05,
        normalizer=2876934.2 / 1281167,
        dim=128,
    )
    return Single(base=base)
