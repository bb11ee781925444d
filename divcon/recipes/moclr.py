"""MoCLR alone, on everything, for the whole budget: what DnC has to beat.

divcon run DATA out=RUN recipe=moclr epochs=60
"""

from typing import Any

from ..rivals import Single
from . import Options
from ._small import contrast

about = "MoCLR alone for the whole budget: what DnC has to beat"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=contrast(options, images=options.showings(n)))
