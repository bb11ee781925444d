"""Instance recognition (NPID) alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=npid epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 0.8 minutes, 20-NN / linear 58.6 /
58.3 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.4 minutes, 74.1 / 78.0 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

The whole softmax, not noise: of so few images it costs less. The projector has a hidden layer, as other methods'.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "instance recognition (NPID) alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("npid"), n, images=options.samples_seen(n)))
