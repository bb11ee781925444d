"""DeepCluster alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=deepcluster epochs=60

Expected: see docs/results.md.

The budget counts the images that are learned from. Each pass begins with a look at the whole collection, which is not
counted and costs about a fifth more time. There is a cluster for 64 images. The paper's networks see edges in the place of
colours: base.encoder.colours=edges.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "DeepCluster: k-means each pass, a new classifier, clusters shown alike"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="deepcluster"), n, images=options.showings(n)))
