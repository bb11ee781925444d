"""SEER in small (https://arxiv.org/abs/2103.01988): SwAV with its head and its Sinkhorn rounds, on a RegNetY or a slim encoder.

    divcon run DATA out=RUN recipe=seer epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 1.6 minutes, 20-NN / linear 58.9 /
55.1 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 2.0 minutes, 71.1 / 74.7 (69.1 / 74.8). One seed, while other work
ran; docs/results/methods.md has all methods side by side.

As in the paper the head has three layers and no batch norm, Sinkhorn-Knopp has ten rounds, there are four small views, and the
encoder's blocks are computed again for the gradient (not with encoder=slim10). One epoch, as in the paper, teaches nothing at
this size: epochs= says how many. Without batch norm in its head it needs half of SwAV's rate.
"""

from dataclasses import replace

from ..nets.encoder import SLIM
from ..pipelines.single import Single
from .options import Options
from .small import small_pretrain

SEER = {"layers": 3, "norm_hidden": False, "sinkhorn": 10, "crops": 4}

about = "SEER in small: SwAV on a RegNetY, a head without batch norm"
defaults: dict[str, object] = {"encoder": "regnety_002", "size": 64}


def recipe(options: Options, n: int) -> Single:
    """The settings for n images."""
    base = small_pretrain(options.by("swav"), n, samples_seen=options.samples_seen(n))
    return Single(
        base=replace(base, lr=base.lr / 2, options={**base.options, **SEER}, recompute=options.encoder not in SLIM)
    )
