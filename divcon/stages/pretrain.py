"""Train an encoder on images by one method."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..data.images import Images
from ..methods.registry import check_learns_alone, checked_options, method_named
from ..nets.trained import Trained
from ..runs.run import StageContext
from .learning import NetworkTraining, train_network


@dataclass(frozen=True, kw_only=True)
class Pretrain(NetworkTraining):
    """Learning by one method, with its options."""

    method: str = "moclr"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learns_alone(self.method)
        object.__setattr__(self, "options", checked_options(self.method, self.options))

    def share(self, fraction: float) -> Self:
        """The part of this budget that falls to a cluster with this fraction of the images (DnC section 3.2)."""
        return replace(self, images=self.images * fraction)


def pretrain(context: StageContext, images: Images, recipe: Pretrain, base: Trained | None = None) -> Trained:
    """Train an encoder on images by the recipe's method."""
    return train_network(
        context,
        images,
        recipe,
        lambda encoder: method_named(recipe.method)(encoder, len(images), **recipe.options),
        base,
    )
