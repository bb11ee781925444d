"""SwAV alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=swav epochs=60

Expected: see docs/results.md.

Each image is seen in two large and two small views. There is a prototype for 64 images, and a queue of 15 batches. When the
loss stays at that of chance, the log says what helps.
"""

from dataclasses import replace
from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "SwAV alone: clusters made online, multi-crop"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(replace(options, method="swav"), n, images=options.showings(n)))
