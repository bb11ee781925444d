"""Train an encoder on images by one method."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..data.images import Images
from ..methods.registry import check_learns_alone, checked_options, method_named
from ..nets.trained import Trained
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext
from .learning import MakeMethod, NetworkTraining, plan_network, train_network


@dataclass(frozen=True, kw_only=True)
class Pretrain(NetworkTraining):
    """The recipe of a training by one method, with the method's options."""

    method: str = "moclr"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learns_alone(self.method)
        object.__setattr__(self, "options", checked_options(self.method, self.options))

    def share(self, fraction: float) -> Self:
        """The part of this budget that falls to a cluster with this fraction of the images (DnC section 3.2)."""
        return replace(self, samples_seen=self.samples_seen * fraction)

    def method_for(self, n_images: int) -> MakeMethod:
        """The function that builds the method around an encoder, for a collection of n images."""
        return lambda encoder: method_named(self.method)(encoder, n_images, **self.options)


def plan_pretrain(images: Images, recipe: Pretrain, base: Trained | None = None) -> Plan[Trained]:
    """The plan of `pretrain`."""
    return plan_network(images, recipe, recipe.method_for(len(images)))


@planned_by(plan_pretrain)
def pretrain(context: StageContext, images: Images, recipe: Pretrain, base: Trained | None = None) -> Result[Trained]:
    """Train an encoder on images by the recipe's method; it may start from a base."""
    return train_network(context, images, recipe, recipe.method_for(len(images)), base)
