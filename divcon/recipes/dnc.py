"""Divide and Contrast for small collections: 10^3 to 10^5 images, minutes to hours on two cores.

divcon run DATA out=RUN epochs=60
"""

from dataclasses import replace

from ..dnc import DnC
from ..evals.compare import Check
from ..stages import Distillation, Divide
from . import Options
from ._small import contrast

about = "Divide and Contrast, with what small collections need"


def recipe(options: Options, n: int) -> DnC:
    total = options.showings(n)
    base = contrast(options, images=total / 3)
    expert = replace(base, images=total / 2, start="base", lr=base.lr / 2, seed=options.seed + 1)
    student = Distillation(
        images=total / 6, batch_size=base.batch_size, optimizer="adamw", lr=1e-3, weight_decay=0.01, seed=options.seed + 2,
        encoder=base.encoder, sight=base.sight, views=base.views, start="base", hidden=options.heads()[0],
    )  # fmt: skip
    return DnC(
        base=base,
        clusters=Divide(seed=options.seed),
        expert=expert,
        student=student,
        checks=Check(labels=options.labels),
    )
