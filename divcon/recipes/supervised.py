"""Supervised learning: the upper line in every table.

    divcon run DATA out=RUN recipe=supervised labels=FOLDER epochs=60

Expected: see docs/results.md.

It learns from the images of the labelled folder, and from the labels, that `divcon eval RUN FOLDER` does not test on: those
in train/, or the same 70 in 100 of each class. With `divcon eval ... seed=S` type truth.split_seed=S here, else it will have
seen what it is tested on. DATA sets the budget: epochs=60 shows as many images as 60 passes over DATA.
"""

from typing import Any

from ..errors import UsageError
from ..rivals import Supervised, Truth
from . import Options
from ._small import by_labels

about = "learn from the labels of labels=FOLDER: the upper line in every table"
defaults: dict[str, Any] = {}


def recipe(options: Options, n: int) -> Supervised:
    return Supervised(truth=truth(options), base=by_labels(options, images=options.showings(n), seed=options.seed))


def truth(options: Options) -> Truth:
    if options.labels is None:
        raise UsageError(
            f"recipe={options.recipe} learns from labels; type labels=FOLDER, with a subfolder for each class"
        )
    return Truth(labels=options.labels)
