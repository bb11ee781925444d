"""Supervised learning: the upper line of every table."""

from dataclasses import dataclass
from pathlib import Path

from ..data.images import Images
from ..data.labeled.labeled import Labeled, open_labeled
from ..data.labeled.layout import Split
from ..evals.split import train_test_split
from ..nets.trained import Trained
from ..runs.run import Run
from ..stages.classify import Classification, classify
from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The labeled folder to learn from; `split` and `split_seed` are those of the evaluation that is to be honest."""

    labels: str
    split: Split = "auto"
    split_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Supervised(Recipe):
    """The recipe of a training on labels that people gave."""

    truth: Truth
    base: Classification


def supervised(run: Run, images: Images, recipe: Supervised) -> Trained:
    """Train an encoder on the labeled images that an evaluation does not test on; `images` only set the budget."""
    train = training_images(recipe.truth, run.cache, run.machine.workers)
    return run.stage("base", classify, train.images, train, recipe.base)


def training_images(truth: Truth, cache: Path, workers: int) -> Labeled:
    """The labeled images without those that `divcon eval` with the same seed tests on."""
    labeled = open_labeled(truth.labels, split=truth.split, cache=cache, workers=workers)
    train, _, _ = train_test_split(labeled, truth.split_seed)
    return labeled.subset(train)
