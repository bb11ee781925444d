"""MoCo v2 alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=moco epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 0.9 minutes, 20-NN / linear 58.8 /
59.2 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.4 minutes, 72.0 / 78.4 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

The queue holds half of the collection at most; the momentum starts by the number of steps, and rises to 1.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "MoCo v2 alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("moco"), n, images=options.samples_seen(n)))
