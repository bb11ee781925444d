"""MoCLR as in the paper of Divide and Contrast: 1000 ImageNet-epochs, LARS, batch 4096.

    divcon run DATA out=RUN recipe=moclr_paper encoder=resnet50 size=224 batch_size=4096 views=byol

Expected: the paper's linear accuracy on ImageNet is 74.3 (table 1); 66.6 after JFT-300M and 65.1 after YFCC100M (table
3). Not run by us. With epochs=N, another budget; encoder and size are derived from the machine unless they are typed.

The paper gives no temperature: 0.1 is SimCLR's.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "MoCLR with the settings of DnC's paper, 1000 ImageNet-epochs"
defaults: dict[str, Any] = {"batch_size": 4096, "views": "byol"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("moclr"),
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
