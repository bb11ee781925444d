"""Jigsaw puzzles alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=jigsaw epochs=60

Expected: see docs/results.md.

Of 64 orders of the tiles, where the paper has 1,000.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "jigsaw puzzles alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="jigsaw"), n, images=options.showings(n)))
