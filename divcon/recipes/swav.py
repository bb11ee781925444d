"""SwAV alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=swav epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 1.3 minutes, 20-NN / linear 58.1 /
58.9 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.7 minutes, 72.1 / 77.9 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

Each image is seen in two large and two small views. There is a prototype for 64 images, and a queue of 15 batches. When the
loss stays at that of chance, the log says what helps.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "SwAV alone: clusters made online, multi-crop"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("swav"), n, images=options.samples_seen(n)))
