"""The contract between a method and everything else. docs/add-a-method.md says it with an example.

A method is an nn.Module whose forward IS the loss and whose state_dict is all it remembers. It knows no loop, loader,
optimizer or device. Forward reads state and never writes it; what `after_step` needs, forward returns.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from ..data.views.view import View
from ..nets.net import Layer, Net

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class At:
    """Where training is; every schedule is a function of this and of nothing else."""

    step: int
    steps: int
    epoch: int

    @property
    def fraction(self) -> float:
        return self.step / self.steps


@dataclass(frozen=True)
class Batch:
    views: Sequence[Float[Tensor, "b 3 h w"]]  # one tensor for each of the method's views
    index: Int64[Tensor, "b"]  # each image's position in the collection that is trained on


@dataclass(frozen=True)
class Outcome:
    """What forward gives: the loss, tensors worth logging (detached), and what `after_step` will need.

    Training is watched by `features`, what the net makes of the images of one view (detached), and by `chance`, the loss of
    one that knows nothing: divcon/train/collapse.py.
    """

    loss: Float[Tensor, ""]
    logs: dict[str, Tensor] = field(default_factory=dict)
    kept: Any = None
    features: Float[Tensor, "b d"] | None = None
    chance: float | None = None


Encode = Callable[[Layer], Float[Tensor, "n d"]]  # what the net sees of the whole collection, in order, center views


class Method(nn.Module, ABC):
    """A way to train `net`. Options are keyword-only arguments of `__init__`, with the paper's defaults."""

    net: Net
    about: ClassVar[str]  # a line for `divcon methods`
    advice: ClassVar[str] = "lower base.lr, or take a larger batch_size"  # what helps when it learns nothing
    sizes_by: ClassVar[
        tuple[tuple[str, int], ...]
    ] = ()  # options that decide how large its images are, and what to try

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        """The views it wants of each image, made from the recipe's pair."""
        return pair

    def sides(self, pair: tuple[View, View]) -> set[int]:
        """How many pixels wide the images are that its encoder is shown."""
        return {view.size for view in self.views(pair)}

    @abstractmethod
    def forward(self, batch: Batch, at: At) -> Outcome:
        """The loss of a batch."""

    def start_from(self, net: Net) -> None:
        """Take up a trained net's weights, before the first step."""
        self.net.load_state_dict(net.state_dict())

    def before_epoch(self, look: Encode, at: At) -> None:
        """Called with the whole collection in reach, e.g. to cluster it again."""

    def resampled_indices(self) -> Int64[Tensor, "n"] | None:
        """For each image, the one that is shown in its place in this pass; None: each image is shown once."""
        return None

    def reset_parameters(self) -> list[nn.Parameter]:
        """What `before_epoch` begins again at random: the optimizer then forgets what it knew of it, and gives it no
        momentum."""
        return []

    @torch.no_grad()
    def after_step(self, kept: Any, at: At) -> None:
        """Called once the optimizer has moved, e.g. to move a momentum target."""
