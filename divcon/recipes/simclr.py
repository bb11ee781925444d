"""SimCLR alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=simclr epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 0.9 minutes, 20-NN / linear 61.7 /
59.7 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.1 minutes, 74.5 / 80.1 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "SimCLR alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("simclr"), n, images=options.samples_seen(n)))
