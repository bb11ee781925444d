"""Supervised learning: the upper line in every table.

    divcon run DATA out=RUN recipe=supervised labels=FOLDER epochs=60

Expected: 25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art 0.5 minutes, 20-NN / linear 63.8 /
63.2 (untrained 56.0 / 54.9); 3,000 of Fashion-MNIST 0.6 minutes, 81.9 / 83.7 (69.1 / 74.8). One seed, while other work
ran; docs/results/methods.md has all methods side by side.

It learns from those images and labels of FOLDER that `divcon eval RUN FOLDER` does not test on: the images in train/, or the
same 70 in 100 of each class. For `divcon eval ... split=S` type the same split= here, and for `seed=S` type truth.split_seed=S:
otherwise it learns from test images. The same happens where `eval` has other images, by include= or exclude=. DATA sets the
budget: epochs=60 shows as many images as 60 passes over DATA.
"""

from ..errors import UsageError
from ..pipelines.supervised import Supervised, Truth
from .options import Options
from .small import small_classification

about = "learn from the labels of labels=FOLDER: the upper line in every table"
defaults: dict[str, object] = {}


def recipe(options: Options, n: int) -> Supervised:
    """The settings for n images."""
    base = small_classification(options, samples_seen=options.samples_seen(n))
    return Supervised(truth=truth(options), base=base)


def truth(options: Options) -> Truth:
    """The labeled folder. UsageError where none was typed."""
    if options.labels is None:
        raise UsageError(
            f"recipe={options.recipe} learns from labels; type labels=FOLDER, with a subfolder for each class"
        )
    return Truth(labels=options.labels, split=options.split)
