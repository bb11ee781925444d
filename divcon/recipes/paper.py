"""Recipes that follow a paper to the letter."""

from dataclasses import replace

from ..errors import UsageError
from ..evals.expert_check import ExpertCheck
from ..methods.registry import method_named, options_of
from ..methods.settings import PaperSettings, options_at
from ..pipelines.dnc import DnC
from ..pipelines.single import Single
from ..stages.classify import Classification
from ..stages.cluster import Divide
from ..stages.distill import Distillation
from ..stages.pretrain import Pretrain
from .options import Options
from .recipe import NamedRecipe, documentation
from .small import scale_of

DEFAULTS: dict[str, object] = {"batch_size": 4096, "views": "byol"}  # DnC's
NOT_RUN = (
    "Not run by us. With epochs=N, another budget; encoder and size are derived from the machine unless they are typed."
)


def paper_recipe(name: str, method: str, settings: PaperSettings) -> NamedRecipe:
    """The recipe of one method with its paper's settings."""

    def recipe(options: Options, n: int) -> Single:
        return Single(base=paper_pretrain(options.by(method), n, settings))

    defaults = {"batch_size": settings.batch_size, "views": settings.views}
    typed = " ".join(f"{key}={value}" for key, value in {"encoder": settings.encoder, "size": 224, **defaults}.items())
    about = settings.about or f"{name.removesuffix('_paper')} with its paper's settings"
    doc = documentation(about, f"recipe={name} {typed}", f"{settings.expected} {NOT_RUN}", settings.notes)
    return NamedRecipe(about, defaults, recipe, doc)


def paper_pretrain(options: Options, n: int, settings: PaperSettings) -> Pretrain:
    """Return a training by `options.method` with a paper's settings. A budget, and widths of the projector, that are typed
    take the place of the paper's."""
    samples_seen = budget(options, n, settings.imagenet_epochs)
    known = options_of(method_named(options.method)).keys() & {"hidden", "dim"}
    typed = {name: value for name in sorted(known) if (value := getattr(options, name)) is not None}
    base = Pretrain(
        samples_seen=samples_seen,
        optimizer=settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        drops=settings.drops,
        method=options.method,
        options={**options_at(settings, scale_of(options, n, samples_seen)), **typed},
        **options.training(),
    )
    return replace(base, encoder=replace(base.encoder, colors=settings.colors))


def budget(options: Options, n: int, imagenet_epochs: float) -> float:
    """The number of images to show: that of so many ImageNet-epochs unless a budget is typed."""
    typed = options.epochs or options.imagenet_epochs
    return (options if typed else replace(options, imagenet_epochs=imagenet_epochs)).samples_seen(n)


def paper_dnc(options: Options, n: int, *, shares: tuple[float, float, float], k: int, lr: float = 0.3) -> DnC:
    """Return DnC's base, experts and student (appendix E and tables 2, 12, 18) for one schedule. `shares` are the ImageNet-
    epochs of the three, and their sum is the budget unless one is typed."""
    total = budget(options, n, sum(shares))
    images = [total * share / sum(shares) for share in shares]
    hidden, dim = options.heads()
    if "dim" not in options_of(method_named(options.method)):
        raise UsageError(
            f"recipe={options.recipe} distills projections, and method={options.method} has none; type recipe=dnc, where the "
            "student learns from the pool"
        )
    settings = PaperSettings(
        imagenet_epochs=sum(shares),
        optimizer="lars",
        lr=lr,
        weight_decay=1.5e-6,
        options={"hidden": hidden, "dim": dim},
    )
    base = replace(paper_pretrain(options, n, settings), samples_seen=images[0])
    student = Distillation(
        samples_seen=images[2],
        optimizer="lars",
        lr=lr,
        weight_decay=1.5e-6,
        hidden=hidden,
        **options.training(seed_offset=2),
    )
    return DnC(
        base=base,
        clusters=Divide(k=k, seed=options.seed, smallest=1),
        expert=replace(base, samples_seen=images[1], seed=options.seed + 1),
        student=student,
        checks=ExpertCheck(labels=options.labels, split=options.split),
    )


def paper_classification(
    options: Options, *, samples_seen: float, warmup: float, drops: tuple[float, ...], seed_offset: int = 0
) -> Classification:
    """Return a training on labels by SGD, at 0.1 for a batch of 256, whose rate falls to a tenth at `drops`."""
    return Classification(
        samples_seen=samples_seen,
        optimizer="sgd",
        lr=0.1,
        weight_decay=1e-4,
        warmup=warmup,
        drops=drops,
        **options.training(seed_offset),
    )
