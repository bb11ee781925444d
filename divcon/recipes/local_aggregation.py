"""Local Aggregation alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=local_aggregation epochs=60

Expected: see docs/results.md.

Of the passes, the first quarter is instance recognition with the whole softmax; the rest is Local Aggregation, with the
bank clustered three times, into a cluster for 40 images, at the start of each pass.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "Local Aggregation alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="localagg"), n, images=options.showings(n)))
