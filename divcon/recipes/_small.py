"""Settings for collections of 10^3 to 10^5 images and trainings of 10^2 to 10^4 steps (LOG.md, 2026-11-22)."""

from typing import Any

from ..method import named, options_of
from ..stages import Pretrain
from . import Options

TEMPERATURE = 0.2  # a small batch holds fewer hard negatives than one of 4096
RATE = 0.012  # AdamW's, for a batch of 256


def contrast(options: Options, n: int, *, images: float) -> Pretrain:
    """One contrastive training as short trainings need it: AdamW, and EMA that starts by the number of steps."""
    hidden, dim = options.heads()
    assert options.batch_size is not None and options.views is not None
    # MoCo's queue holds half of the collection at most: an image's own earlier keys must not be its negatives
    queue = min(65536, max(options.batch_size, n // 2))
    wanted: dict[str, Any] = {
        "temperature": TEMPERATURE,
        "hidden": hidden,
        "dim": dim,
        "momentum": None,
        "queue": queue,
    }
    known = options_of(named(options.method))
    return Pretrain(
        images=images, batch_size=options.batch_size, optimizer="adamw", lr=RATE, weight_decay=1e-4, seed=options.seed,
        encoder=options.spec(), sight=options.sight(), views=options.views, method=options.method,
        options={name: value for name, value in wanted.items() if name in known},
    )  # fmt: skip
