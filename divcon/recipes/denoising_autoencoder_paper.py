"""A denoising autoencoder at the scale of the others' papers: 90 ImageNet-epochs of SGD.

    divcon run DATA out=RUN recipe=denoising_autoencoder_paper encoder=resnet50 size=224 batch_size=256

Expected: the papers have no number for large photos, and no settings either: they train stacks of layers on digits and on
small patches. Not run by us. With epochs=N, another budget; encoder and size are derived from the machine unless they are
typed.

Noise of half a color's spread is the largest that the paper of 2010 tries; rate, decay and length are ours.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "a denoising autoencoder for 90 ImageNet-epochs"
defaults: dict[str, Any] = {"batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("denoising_autoencoder"),
        n,
        imagenet_epochs=90,
        optimizer="sgd",
        lr=0.1,
        weight_decay=1e-4,
        noise=0.5,
        channels=256,
    )
    return Single(base=base)
