"""SimCLR v2 alone, on everything, for the whole budget: SimCLR with a projector of three layers.

    divcon run DATA out=RUN recipe=simclr_v2 epochs=60

Expected: see docs/results.md.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "SimCLR v2 alone for the whole budget: a projector of three layers"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    base = alone(replace(options, method="simclr"), n, images=options.showings(n))
    return Single(base=replace(base, options={**base.options, "layers": 3}))
