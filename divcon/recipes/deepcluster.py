"""DeepCluster alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=deepcluster epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 0.8 minutes, 20-NN / linear 60.8 /
62.2 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.0 minutes, 72.9 / 78.1 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

The budget counts the images that are learned from. Each pass begins with a look at the whole collection, which is not
counted and costs about a fifth more time. There is a cluster for 64 images. The paper's networks see edges in the place of
colors: base.encoder.colors=edges.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "DeepCluster: k-means each pass, a new classifier, clusters shown alike"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("deepcluster"), n, images=options.samples_seen(n)))
