"""BYOL alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=byol epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 1.6 minutes, 20-NN / linear 58.2 /
57.2 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 2.2 minutes, 70.6 / 76.9 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "BYOL alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("byol"), n, images=options.samples_seen(n)))
