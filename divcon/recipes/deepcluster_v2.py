"""DeepCluster v2 alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=deepcluster_v2 epochs=60

Expected: see docs/results.md.

Each image is seen in two large and two small views. k-means, a cluster for 64 images and three times over, uses what was seen
in the pass before: only the first pass begins with a look of its own, which the budget does not count.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "DeepCluster v2: spherical k-means of last pass's projections"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="deepcluster_v2"), n, images=options.showings(n)))
