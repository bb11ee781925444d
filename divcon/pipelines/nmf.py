"""Non-negative matrix factorization of pixels."""

from dataclasses import dataclass

from ..data.images import Images
from ..nets.trained import Trained
from ..runs.run import Run
from ..stages.factorize import Factorization, factorize


@dataclass(frozen=True, kw_only=True)
class NMF:
    """Non-negative matrix factorization of pixels."""

    base: Factorization


def nmf(run: Run, images: Images, recipe: NMF) -> Trained:
    """Factor the whole collection."""
    return run.stage("base", factorize, images, recipe.base)
