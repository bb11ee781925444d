"""Instance recognition (NPID) alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=npid epochs=60

Expected: see docs/results.md.

The whole softmax, not noise: of so few images it costs less. The projector has a hidden layer, as other methods'.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "instance recognition (NPID) alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="npid"), n, images=options.showings(n)))
