"""Divide and Contrast for small collections: 10^3 to 10^5 images, minutes to hours on two cores.

    divcon run DATA out=RUN recipe=dnc epochs=60

Expected: Open Clip Art (`make demo`), epochs=15 encoder=slim10 size=32, about 5 minutes on two cores: 20-NN 64.2 +- 0.9,
linear 62.1 +- 0.2 (3 seeds; its base 63.1 / 61.4, untrained 56.1 / 56.0).
At 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 2.8 minutes, 20-NN / linear 61.6 / 59.9
(untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 3.1 minutes, 74.3 / 79.3 (69.1 / 74.8). One seed, while other work ran;
all methods side by side in docs/results.md.

What differs from the paper's recipes (dnc_1000, dnc_3000, dnc_4500), and why, is in LOG.md, 2026-11-22:

- Half of the budget goes to the base, a quarter each to experts and student: here the base still gains from every pass.
- Experts and student start from the base: from scratch, an expert that sees a few hundred steps knows its own cluster
  less well than the base does.
- Of the base, experts take up encoder and projector; what else a method= has (a predictor, prototypes, a queue) begins anew.
- The student meets its teachers at the pool, not at the projection: what a short training has learned is there.
"""

from dataclasses import replace
from typing import Any

from ..evals.expert_check import ExpertCheck
from ..pipelines.dnc import DnC
from ..stages.cluster import Divide
from ..stages.distill import Distillation
from . import Options
from ._small import alone

STUDENT_RATE = 0.016  # AdamW's, for a batch of 256
BASE_SHARE = 0.25  # a student that starts from the base needs less of it

about = "Divide and Contrast, with what small collections need"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> DnC:
    total = options.samples_seen(n)
    base = alone(options, n, images=total / 2)
    expert = replace(base, images=total / 4, start="base", lr=base.lr / 2, seed=options.seed + 1)
    student = Distillation(
        images=total / 4,
        batch_size=base.batch_size,
        optimizer="adamw",
        lr=STUDENT_RATE,
        weight_decay=1e-4,
        seed=options.seed + 2,
        encoder=base.encoder,
        input_spec=base.input_spec,
        views=base.views,
        start="base",
        layer="pool",
        base_share=BASE_SHARE,
    )
    checks = ExpertCheck(labels=options.labels, split=options.split)
    return DnC(base=base, clusters=Divide(seed=options.seed), expert=expert, student=student, checks=checks)
