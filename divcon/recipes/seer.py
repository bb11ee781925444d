"""SEER in small (https://arxiv.org/abs/2103.01988): SwAV with its head and its division, on a RegNetY or a slim encoder.

    divcon run DATA out=RUN recipe=seer epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 1.6 minutes, 20-NN / linear 58.9 /
55.1 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 2.0 minutes, 71.1 / 74.7 (69.1 / 74.8). One seed, while other work
ran; all methods side by side in docs/results.md.

As in the paper the head has three layers and no batch norm, the division ten rounds, and there are four small views; the
encoder's blocks are done again for the gradient. One pass, as in the paper, teaches nothing at this size: epochs= says how
many. With encoder=slim10 nothing is done again. Without batch norm in its head it wants half of SwAV's rate.
"""

from dataclasses import replace
from typing import Any

from ..nets.encoder import SLIM
from ..pipelines.single import Single
from . import Options
from ._small import alone

SEER: dict[str, Any] = {"layers": 3, "norm_hidden": False, "sinkhorn": 10, "crops": 4}

about = "SEER in small: SwAV on a RegNetY, a head without batch norm"
defaults: dict[str, Any] = {"encoder": "regnety_002", "size": 64}


def recipe(options: Options, n: int) -> Single:
    base = alone(options.by("swav"), n, images=options.samples_seen(n))
    return Single(
        base=replace(base, lr=base.lr / 2, options={**base.options, **SEER}, recompute=options.encoder not in SLIM)
    )
