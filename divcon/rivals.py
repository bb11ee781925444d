"""What Divide and Contrast is measured against, as pipelines of the same stages."""

from dataclasses import dataclass

from .data.images import Folder
from .nets.trained import Trained
from .runs import Run
from .stages import Pretrain, pretrain


@dataclass(frozen=True, kw_only=True)
class Single:
    """One method, on everything, for the whole budget."""

    base: Pretrain


def single(run: Run, images: Folder, recipe: Single) -> Trained:
    """Train one encoder on the whole collection by one method."""
    return run.stage("base", pretrain, images, recipe.base)
