"""DeepCluster v2 alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=deepcluster_v2 epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 3.0 minutes, 20-NN / linear 59.6 /
59.8 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 3.7 minutes, 76.1 / 79.8 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

Each image is seen in two large and two small views. k-means, a cluster for 64 images and three times over, uses what was seen
in the pass before: only the first pass begins with a look of its own, which the budget does not count.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "DeepCluster v2: spherical k-means of last pass's projections"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("deepcluster_v2"), n, images=options.samples_seen(n)))
