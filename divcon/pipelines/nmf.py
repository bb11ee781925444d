"""Non-negative matrix factorization of pixels."""

from dataclasses import dataclass

from ..data.images import Images
from ..nets.trained import Trained
from ..runs.run import Run
from ..stages.factorize import Factorization, factorize
from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class NMF(Recipe):
    """The recipe of the factorization."""

    base: Factorization


def nmf(run: Run, images: Images, recipe: NMF) -> Trained:
    """Factor the whole collection."""
    return run.stage("base", factorize, images, recipe.base)
