"""Jigsaw puzzles alone, on everything, for the whole budget.

    divcon run DATA out=RUN recipe=jigsaw epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 3.4 minutes, 20-NN / linear 55.2 /
55.7 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 5.3 minutes, 73.0 / 74.7 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

Of 64 orders of the tiles, where the paper has 1,000.
"""

from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "jigsaw puzzles alone for the whole budget"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    return Single(base=alone(options.by("jigsaw"), n, images=options.samples_seen(n)))
