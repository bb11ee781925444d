"""MoCo v2 alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=moco epochs=60

Expected: see docs/results.md.

The queue holds half of the collection at most; the momentum starts by the number of steps, and rises to 1.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "MoCo v2 alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="moco"), n, images=options.showings(n)))
