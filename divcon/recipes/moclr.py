"""MoCLR alone, on everything, for the whole budget: what DnC has to beat.

    divcon run DATA out=RUN recipe=moclr epochs=60

Expected: Open Clip Art, epochs=15 encoder=slim10 size=32, about 5 minutes on two cores: 20-NN 63.9 +- 0.1, linear
62.8 +- 0.7 (3 seeds; untrained 56.1 / 56.0).
At 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 3.2 minutes, 20-NN / linear 62.5 / 60.6
(untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 3.2 minutes, 74.2 / 78.5 (69.1 / 74.8). One seed, while other work ran;
all methods side by side in docs/results.md.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "MoCLR alone for the whole budget: what DnC has to beat"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options, n, images=options.samples_seen(n)))
