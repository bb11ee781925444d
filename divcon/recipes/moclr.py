"""MoCLR alone, on everything, for the whole budget: what DnC has to beat.

    divcon run DATA out=RUN recipe=moclr epochs=60

Expected: Open Clip Art, epochs=15 encoder=slim10 size=32, about 5 minutes on two cores: 20-NN 63.9 +- 0.1, linear
62.8 +- 0.7 (3 seeds; untrained 56.1 / 56.0).
"""

from typing import Any

from ..rivals import Single
from . import Options
from ._small import alone

about = "MoCLR alone for the whole budget: what DnC has to beat"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options, n, images=options.showings(n)))
