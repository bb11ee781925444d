"""An adversarial autoencoder with its paper's networks: hidden layers of 1,000, a code of 8.

    divcon run DATA out=RUN recipe=adversarial_autoencoder_paper encoder=resnet50 size=224 batch_size=256

Expected: the paper has no number for large photos: it trains on digits, house numbers and faces of up to 48 pixels. Not run
by us. With epochs=N, another budget; encoder and size are derived from the machine unless they are typed.

The encoder and the decoder are convolutional, where the paper's have two layers of 1,000. Rate, decay and length are ours:
the paper gives them for digits only.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "an adversarial autoencoder with its paper's heads, for 90 ImageNet-epochs"
defaults: dict[str, Any] = {"batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("adversarial_autoencoder"),
        n,
        imagenet_epochs=90,
        optimizer="sgd",
        lr=0.1,
        weight_decay=1e-4,
        weight=0.1,
        hidden=1000,
        dim=8,
        channels=256,
    )
    return Single(base=base)
