"""The paper's own settings (DnC, appendix E and tables 2, 12, 18), shared by its three schedules."""

from dataclasses import replace
from typing import Any

from ..dnc import DnC
from ..evals.compare import Check
from ..stages import Distillation, Divide, Pretrain
from . import Options

DEFAULTS: dict[str, Any] = {"batch_size": 4096, "views": "byol"}  # where nothing else is typed


def paper(options: Options, n: int, *, shares: tuple[float, float, float], k: int, lr: float = 0.3) -> DnC:
    """Base, experts and student of one schedule; `shares` are its epochs, and the budget if none is typed."""
    total = options.showings(n) if options.epochs or options.imagenet_epochs else 0.0
    if not total:
        total = replace(options, imagenet_epochs=sum(shares)).showings(n)
    images = [total * share / sum(shares) for share in shares]
    hidden, dim = options.heads()
    assert options.batch_size is not None and options.views is not None
    base = Pretrain(
        images=images[0], batch_size=options.batch_size, optimizer="lars", lr=lr, weight_decay=1.5e-6, seed=options.seed,
        encoder=options.spec(), sight=options.sight(), views=options.views, method=options.method,
        options={"hidden": hidden, "dim": dim},
    )  # fmt: skip
    student = Distillation(
        images=images[2], batch_size=options.batch_size, optimizer="lars", lr=lr, weight_decay=1.5e-6, seed=options.seed + 2,
        encoder=options.spec(), sight=options.sight(), views=base.views, hidden=hidden,
    )  # fmt: skip
    expert = replace(base, images=images[1], seed=options.seed + 1)
    return DnC(
        base=base,
        clusters=Divide(k=k, seed=options.seed, smallest=1),
        expert=expert,
        student=student,
        checks=Check(labels=options.labels),
    )
