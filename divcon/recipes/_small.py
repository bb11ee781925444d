"""Settings for collections of 10^3 to 10^5 images and trainings of 10^2 to 10^4 steps (LOG.md, 2026-11-22)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..methods.registry import method_named, options_of
from ..nets.encoder import SLIM
from ..stages.classify import Classification
from ..stages.pretrain import Pretrain
from . import Options

TEMPERATURE = 0.2  # a small batch holds fewer hard negatives than one of 4096
RATE = 0.012  # AdamW's, for a batch of 256
DECAY = 1e-4  # AdamW's too


def _nothing(options: Options, n: int) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Setting:
    """What a method wants besides what all get: AdamW's rate for a batch of 256, how it falls (fit/schedules.py), and options
    for so many images."""

    lr: float = RATE
    drops: tuple[float, ...] | None = None
    options: Callable[[Options, int], dict[str, Any]] = _nothing


SHOWN = 64  # images that a cluster or a prototype has, in the mean


def _clusters(n: int, most: int) -> int:
    return max(8, min(most, n // SHOWN))


def _swav(options: Options, n: int) -> dict[str, Any]:
    """Prototypes as there are clusters; held for a pass, or a tenth of the training; the queue is the paper's 15 batches,
    from the second pass on."""
    assert options.batch_size is not None
    hold = min(0.1, n / options.samples_seen(n))
    own = {"prototypes": _clusters(n, 3000), "hold": hold, "temperature": 0.1}
    return own | {"queue": min(15 * options.batch_size, n // 2), "queue_from": 1, **SMALL_CROPS}


def _deepcluster(options: Options, n: int) -> dict[str, Any]:
    return {"clusters": _clusters(n, 10_000)}


def _deepcluster_v2(options: Options, n: int) -> dict[str, Any]:
    return {"clusters": _clusters(n, 3000), "temperature": 0.1, **SMALL_CROPS}


SMALL_CROPS = {"crops": 2, "crop_share": 0.5}


def _npid(options: Options, n: int) -> dict[str, Any]:
    """All others as negatives, which of so few images costs less than noise does; at the paper's temperature, since there
    are as many negatives as images, whatever the batch."""
    return {"negatives": 0, "temperature": 0.07}


def _local_aggregation(options: Options, n: int) -> dict[str, Any]:
    """A cluster for as many images as in the paper, and a larger share of them as neighbors."""
    return {
        **_npid(options, n),
        "recognition": 0.25,
        "clusters": max(2, n // 40),
        "clusterings": 3,
        "neighbors": max(64, n // 8),
    }


def _jigsaw(options: Options, n: int) -> dict[str, Any]:
    """Fewer orders to tell apart than the paper's 1,000: there are not the steps to learn so many."""
    return {"permutations": 64}


def _context(options: Options, n: int) -> dict[str, Any]:
    """In its colors: a patch of one color is not what the encoder is asked about later."""
    return {"drop": 0.0}


def _painted(options: Options, n: int) -> dict[str, Any]:
    """A slim decoder for a slim encoder."""
    return {"channels": 64 if options.encoder in SLIM else 256}


SETTINGS: dict[str, Setting] = {
    "jigsaw": Setting(options=_jigsaw),
    "context": Setting(options=_context),
    "denoising_autoencoder": Setting(options=_painted),
    "adversarial_autoencoder": Setting(options=_painted),
    "npid": Setting(options=_npid),
    "local_aggregation": Setting(options=_local_aggregation),
    "swav": Setting(lr=0.004, options=_swav),
    "deepcluster": Setting(drops=(), options=_deepcluster),  # level: each pass has a new classifier to teach
    "deepcluster_v2": Setting(options=_deepcluster_v2),
}


def alone(options: Options, n: int, *, images: float) -> Pretrain:
    """One training by `options.method` as short trainings need it: AdamW, and EMA that starts by the number of steps."""
    hidden, dim = options.heads()
    setting = SETTINGS.get(options.method, Setting())
    common: dict[str, Any] = {"temperature": TEMPERATURE, "hidden": hidden, "dim": dim, "momentum": None}
    known = options_of(method_named(options.method))
    given = {name: value for name, value in common.items() if name in known} | setting.options(options, n)
    return Pretrain(
        images=images,
        optimizer="adamw",
        lr=setting.lr,
        weight_decay=DECAY,
        drops=setting.drops,
        method=options.method,
        options=given,
        **options.learning(),
    )


def by_labels(options: Options, *, images: float, seed: int) -> Classification:
    """One training on given labels, by the rate and the decay that other short trainings have."""
    how = {**options.learning(), "seed": seed}
    return Classification(images=images, optimizer="adamw", lr=RATE, weight_decay=DECAY, **how)
