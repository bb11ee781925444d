"""SimCLR v2 alone, on everything, for the whole budget: SimCLR with a projector of three layers.

    divcon run DATA out=RUN recipe=simclr_v2 epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 0.9 minutes, 20-NN / linear 60.5 /
59.6 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 1.1 minutes, 74.8 / 80.0 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.
"""

from dataclasses import replace
from typing import Any

from ..pipelines.single import Single
from . import Options
from ._small import alone

about = "SimCLR v2 alone for the whole budget: a projector of three layers"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Single:
    base = alone(options.by("simclr"), n, images=options.samples_seen(n))
    return Single(base=replace(base, options={**base.options, "layers": 3}))
