"""SimCLR alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=simclr epochs=60

Expected: about a quarter less time than MoCLR, which has a second network; not scored yet.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "SimCLR alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="simclr"), n, images=options.showings(n)))
