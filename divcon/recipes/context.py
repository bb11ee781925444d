"""Context prediction alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=context epochs=60

Expected: see docs/results.md.

Patches keep their colours, where the paper's keep one of three.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "context prediction alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="context"), n, images=options.showings(n)))
