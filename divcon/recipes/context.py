"""Context prediction alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=context epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 0.8 minutes, 20-NN / linear 58.4 /
58.6 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.1 minutes, 70.6 / 74.1 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

Patches keep their colors, where the paper's keep one of three.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "context prediction alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("context"), n, images=options.samples_seen(n)))
