"""Divide and Contrast for small collections: 10^3 to 10^5 images, minutes to hours on two cores.

    divcon run DATA out=RUN recipe=dnc epochs=60

Expected: Open Clip Art (`make demo`), epochs=15 encoder=slim10 size=32, about 5 minutes on two cores: 20-NN 64.2 +- 0.9,
linear 62.1 +- 0.2 (3 seeds; its base 63.1 / 61.4, untrained 56.1 / 56.0).
At 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 2.8 minutes, 20-NN / linear 61.6 / 59.9
(untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 3.1 minutes, 74.3 / 79.3 (69.1 / 74.8). One seed, while other work ran;
docs/results/methods.md has all methods side by side. These were measured before the student had a loss of its own: with
student.own=0.

What differs from the paper's recipes (dnc_1000, dnc_3000, dnc_4500), and why, is in LOG.md, 2026-11-22:

- Half of the budget goes to the base, a quarter each to experts and student: here the base still gains from every epoch.
- Experts and student start from the base: from scratch, an expert that trains for a few hundred steps is worse on its own
  cluster than the base.
- Experts start from the base's encoder and projector. The other parts of a method= (a predictor, prototypes, a queue) start
  from random values.
- The student learns from its teachers' pooled features, not from their projections: what a short training has learned is
  there.
- The student keeps the loss of its base, at half weight, beside its teachers' (student.own=0.5). In a search (30 passes, slim10,
  three seeds; whitened 20-NN / linear, less those of MoCLR at equal images shown) a student without it gained +0.1 / +0.3 on Open
  Clip Art and lost 0.9 / 0.2 on a mixture of three collections; with it +0.2 / +1.5 and -0.3 / 0.0. Where the method of the base
  learns from one view of an image, the student has no such loss.
"""

from dataclasses import replace

from ..evals.expert_check import ExpertCheck
from ..methods.settings import SMALL_WEIGHT_DECAY
from ..nets.encoder import SLIM
from ..pipelines.dnc import DnC
from ..stages.cluster import Divide
from ..stages.distill import Distillation
from ..stages.learning import FEWEST, learns_from_pair
from .options import ANY_METHOD, Options
from .small import small_pretrain

STUDENT_RATE = 0.016  # AdamW's, for a batch of 256
BASE_SHARE = 0.25  # a student that starts from the base needs less of it
OWN = 0.5  # the weight of the student's own loss
LEVEL, BEHIND = 30, 120  # passes, up to which it is level with MoCLR, and behind it (docs/results.md)
MOST_IMAGES = 13_000  # of which that was measured

about = "Divide and Contrast, with what small collections need"
defaults: dict[str, object] = {}


def recipe(options: Options, n: int) -> DnC:
    """The settings for n images."""
    total = options.samples_seen(n)
    base = small_pretrain(options, n, samples_seen=total / 2)
    expert = replace(base, samples_seen=total / 4, start="base", lr=base.lr / 2, seed=options.seed + 1)
    student = Distillation(
        samples_seen=total / 4,
        optimizer="adamw",
        lr=STUDENT_RATE,
        weight_decay=SMALL_WEIGHT_DECAY,
        start="base",
        layer="pool",
        base_share=BASE_SHARE,
        own=OWN if learns_from_pair(base.method_for(FEWEST), base.pair()) else 0,
        **options.training(seed_offset=2),
    )
    checks = ExpertCheck(labels=options.labels, split=options.split)
    return DnC(base=base, clusters=Divide(seed=options.seed), expert=expert, student=student, checks=checks)


def notice(options: Options, n: int) -> str:
    """Tell if dividing pays at this budget, as far as it was measured (docs/results.md)."""
    passes = options.samples_seen(n) / n
    alike = n <= MOST_IMAGES and options.encoder in SLIM and options.method == ANY_METHOD
    level = f"at up to {LEVEL} passes over {MOST_IMAGES:,} images it is level with recipe=moclr"
    if alike and passes <= LEVEL:
        return f"recipe dnc: {level}, which is simpler (docs/results.md). The stage checks compares experts and base"
    if alike and passes <= BEHIND:
        return (
            f"recipe dnc: {level}; at 60 and {BEHIND} passes (slim10_w8, 16 pixels) it was half a point and one point behind: "
            "type recipe=moclr for the better encoder (docs/results.md)"
        )
    return (
        f"recipe dnc: if it beats recipe={options.method} at {passes:.4g} passes over {n:,} images was not measured; {level} "
        "(docs/results.md). The stage checks compares experts and base"
    )
