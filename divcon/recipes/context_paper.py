"""Context prediction as in the paper, as far as it says: patches of one color, SGD.

    divcon run DATA out=RUN recipe=context_paper encoder=resnet50 size=224 batch_size=256

Expected: the paper's own number is for detection (R-CNN on VOC 2007, 46.3 mAP, cited from memory); it has no linear accuracy
on ImageNet. Not run by us. With epochs=N, another budget; encoder and size are derived from the machine unless they are typed.

At 224 pixels a view of 448 gives patches of 108, the paper's being 96. Batch, rate, decay and length (it says four weeks)
are not known to us: those of recipe=jigsaw_paper stand in for them.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "context prediction with the paper's settings, as far as it says"
defaults: dict[str, Any] = {"batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("context"),
        n,
        imagenet_epochs=70,
        optimizer="sgd",
        lr=0.01,
        weight_decay=5e-4,
        warmup=0,
        drop=1.0,
        hidden=4096,
    )
    return Single(base=base)
