"""Rotation prediction (RotNet) alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=rotation epochs=60

Expected: see docs/results.md.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "rotation prediction (RotNet) alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="rotation"), n, images=options.showings(n)))
