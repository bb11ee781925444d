"""Non-negative matrix factorization of pixels, by scikit-learn: the lower line in every table, without a network.

    divcon run DATA out=RUN recipe=nmf epochs=15

Expected: 25,000 images shown, 64 components, one core of two: Open Clip Art 0.3 minutes, 20-NN / linear 54.4 / 53.9
(untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 0.2 minutes, 72.8 / 77.3 (69.1 / 74.8). One seed, while other work ran;
docs/results/methods.md has all methods side by side.

The features of an image are its shares of 64 components (base.encoder.options.components). Pixels are in 0..1 and are not
normalized, so encoder, views, mean and std can't be chosen. It needs pip install 'divcon[baselines]'.
"""

from dataclasses import replace

from ..errors import UsageError
from ..nets.encoder import FACTORS
from ..pipelines.nmf import NMF
from ..stages.factorize import Factorization
from .options import Options

about = "non-negative matrix factorization of pixels: without a network"
defaults: dict[str, object] = {"encoder": FACTORS, "size": 32, "batch_size": 256, "views": "mild"}


def recipe(options: Options, n: int) -> NMF:
    """The settings for n images."""
    if options.encoder != FACTORS:
        raise UsageError(f"encoder={options.encoder}: recipe=nmf has an encoder of its own; leave encoder= away")
    assert options.batch_size is not None
    input_spec = Factorization(samples_seen=1).input_spec
    base = Factorization(
        samples_seen=options.samples_seen(n),
        batch_size=options.batch_size,
        input_spec=replace(input_spec, size=options.input_spec().size),
        seed=options.seed,
    )
    return NMF(base=base)
