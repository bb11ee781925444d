"""Local Aggregation alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=local_aggregation epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 2.2 minutes, 20-NN / linear 58.2 /
57.9 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 2.7 minutes, 74.2 / 77.0 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

Of the passes, the first quarter is instance recognition with the whole softmax; the rest is Local Aggregation, with the
bank clustered three times, into a cluster for 40 images, at the start of each pass.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "Local Aggregation alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("local_aggregation"), n, images=options.samples_seen(n)))
