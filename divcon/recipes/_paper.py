"""Papers' own settings: what the recipes that follow them to the letter have in common."""

from dataclasses import replace
from typing import Any

from ..errors import UsageError
from ..evals.expert_check import ExpertCheck
from ..methods.registry import method_named, options_of
from ..pipelines.dnc import DnC
from ..stages.classify import Classification
from ..stages.cluster import Divide
from ..stages.distill import Distillation
from ..stages.pretrain import Pretrain
from ..train.optimizers import Name
from . import Options

DEFAULTS: dict[str, Any] = {"batch_size": 4096, "views": "byol"}  # where nothing else is typed


def alone(
    options: Options,
    n: int,
    *,
    imagenet_epochs: float,
    optimizer: Name,
    lr: float,
    weight_decay: float,
    warmup: float = 0.1,
    drops: tuple[float, ...] | None = None,
    **own: Any,
) -> Pretrain:
    """One training by `options.method` with a paper's optimizer; `lr` is for a batch of 256. The budget is the paper's if
    none is typed, and so are the projector's widths, given in `own`. Warm-up: ten ImageNet epochs, or `warmup=0`. The rate
    falls by a cosine, or to a tenth at the shares in `drops`."""
    known = options_of(method_named(options.method)).keys() & {"hidden", "dim"}
    typed = {name: value for name in sorted(known) if (value := getattr(options, name)) is not None}
    return Pretrain(
        images=budget(options, n, imagenet_epochs),
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        warmup=warmup,
        drops=drops,
        method=options.method,
        options={**own, **typed},
        **options.learning(),
    )


def budget(options: Options, n: int, imagenet_epochs: float) -> float:
    """Images to show: the paper's, if none are typed."""
    typed = options.epochs or options.imagenet_epochs
    return (options if typed else replace(options, imagenet_epochs=imagenet_epochs)).samples_seen(n)


def paper(options: Options, n: int, *, shares: tuple[float, float, float], k: int, lr: float = 0.3) -> DnC:
    """DnC's base, experts and student (appendix E and tables 2, 12, 18) of one schedule; `shares` are its epochs, and the
    budget if none is typed."""
    total = budget(options, n, sum(shares))
    images = [total * share / sum(shares) for share in shares]
    hidden, dim = options.heads()
    if "dim" not in options_of(method_named(options.method)):
        raise UsageError(
            f"recipe={options.recipe} distills projections, and method={options.method} has none; type recipe=dnc, where the "
            "student learns from the pool"
        )
    how: dict[str, Any] = {**options.learning(), "optimizer": "lars", "lr": lr, "weight_decay": 1.5e-6}
    base = Pretrain(images=images[0], method=options.method, options={"hidden": hidden, "dim": dim}, **how)
    student = Distillation(images=images[2], hidden=hidden, **{**how, "seed": options.seed + 2})
    expert = replace(base, images=images[1], seed=options.seed + 1)
    return DnC(
        base=base,
        clusters=Divide(k=k, seed=options.seed, smallest=1),
        expert=expert,
        student=student,
        checks=ExpertCheck(labels=options.labels, split=options.split),
    )


def by_labels(options: Options, *, images: float, warmup: float, drops: tuple[float, ...], seed: int) -> Classification:
    """One training on given labels by SGD at 0.1 for a batch of 256, its rate falling to a tenth at `drops`."""
    how = {**options.learning(), "seed": seed}
    return Classification(images=images, optimizer="sgd", lr=0.1, weight_decay=1e-4, warmup=warmup, drops=drops, **how)
