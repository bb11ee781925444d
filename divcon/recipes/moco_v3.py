"""MoCo v3 alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=moco_v3 epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 2.6 minutes, 20-NN / linear 60.7 /
59.4 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 2.8 minutes, 74.2 / 77.4 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "MoCo v3 alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("moco_v3"), n, images=options.samples_seen(n)))
