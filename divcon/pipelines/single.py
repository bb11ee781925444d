"""One method, on everything, for the whole budget: what Divide and Contrast is measured against."""

from dataclasses import dataclass

from ..data.images import Images
from ..nets.trained import Trained
from ..runs.run import Run
from ..stages.pretrain import Pretrain, pretrain
from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Single(Recipe):
    """The recipe of the one training."""

    base: Pretrain


def single(run: Run, images: Images, recipe: Single) -> Trained:
    """Train one encoder on the whole collection by one method."""
    return run.stage("base", pretrain, images, recipe.base)
