"""Settings for collections of 10^3 to 10^5 images and trainings of 10^2 to 10^4 steps (LOG.md, 2026-11-22)."""

from ..methods.registry import method_named, options_of, small_settings
from ..methods.settings import SMALL_LR, SMALL_WEIGHT_DECAY, Scale, SmallSettings, options_at
from ..nets.encoder import SLIM
from ..pipelines.single import Single
from ..stages.classify import Classification
from ..stages.pretrain import Pretrain
from .options import ANY_METHOD, Options
from .recipe import NamedRecipe, documentation

TEMPERATURE = 0.2  # a small batch has fewer hard negatives than one of 4096


def small_recipe(name: str, method: str, settings: SmallSettings) -> NamedRecipe:
    """The recipe that spends the whole budget on one method."""

    def recipe(options: Options, n: int) -> Single:
        chosen = options if method == ANY_METHOD else options.by(method)
        own = settings if chosen.method == method else small_settings(chosen.method)
        return Single(base=small_pretrain(chosen, n, samples_seen=options.samples_seen(n), settings=own))

    about = settings.about or f"{name} alone for the whole budget"
    doc = documentation(about, f"recipe={name} epochs=60", settings.expected, settings.notes)
    return NamedRecipe(about, {}, recipe, doc)


def small_pretrain(options: Options, n: int, *, samples_seen: float, settings: SmallSettings | None = None) -> Pretrain:
    """Return a training by `options.method` that shows so many images: AdamW, and a momentum network whose momentum starts by
    the number of steps. `settings` are the method's own where none are given."""
    settings = settings or small_settings(options.method)
    hidden, dim = options.heads()
    common = {"temperature": TEMPERATURE, "hidden": hidden, "dim": dim, "momentum": None}
    known = options_of(method_named(options.method))
    return Pretrain(
        samples_seen=samples_seen,
        optimizer="adamw",
        lr=settings.lr,
        weight_decay=SMALL_WEIGHT_DECAY,
        drops=settings.drops,
        method=options.method,
        options={
            **{name: value for name, value in common.items() if name in known},
            **options_at(settings, scale_of(options, n, options.samples_seen(n))),
        },
        **options.training(),
    )


def small_classification(options: Options, *, samples_seen: float, seed_offset: int = 0) -> Classification:
    """Return a training on labels that shows so many images, with the rate and the decay of other short trainings."""
    return Classification(
        samples_seen=samples_seen,
        optimizer="adamw",
        lr=SMALL_LR,
        weight_decay=SMALL_WEIGHT_DECAY,
        **options.training(seed_offset),
    )


def scale_of(options: Options, n: int, samples_seen: float) -> Scale:
    """The size of a training on n images."""
    assert options.batch_size is not None
    return Scale(n, options.batch_size, samples_seen, options.encoder in SLIM)
