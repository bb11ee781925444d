"""The contract between a method and the training loop. docs/add-a-method.md explains it with an example.

A method is an nn.Module whose forward returns the loss and whose state_dict is its whole state. It knows no loop, data loader,
optimizer or device. Forward reads state and never writes it; it returns what `after_step` needs.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from ..data.views.view import View
from ..nets.net import Layer, Net

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Step:
    """A step of the training. Every schedule is a function of this alone.

    In a training of several cycles, `step` and `steps` are those of the cycle, so that every schedule begins anew. `epoch`
    is that of the whole training. `begin` is the step of the training at which the cycle begins.
    """

    step: int
    steps: int
    epoch: int
    begin: int = 0

    @property
    def fraction(self) -> float:
        """The share of the cycle that is done, in 0..1."""
        return self.step / self.steps

    @property
    def of_training(self) -> int:
        """The number of the step in the whole training."""
        return self.begin + self.step


@dataclass(frozen=True)
class Batch:
    """The images of one step."""

    views: Sequence[Float[Tensor, "b 3 h w"]]  # one tensor for each of the method's views
    index: Int64[Tensor, "b"]  # the position of each image in the training collection


@dataclass(frozen=True)
class Outcome:
    """The result of forward.

    loss: a scalar with a gradient; logs: scalars for the metrics, detached; update: the tensors that `after_step` gets.
    `divcon/train/collapse.py` watches the training by `features`, those of the images of one view (detached), and by `chance`,
    the loss of a random guess.
    """

    loss: Float[Tensor, ""]
    logs: dict[str, Tensor] = field(default_factory=dict)
    update: tuple[Tensor, ...] = ()
    features: Float[Tensor, "b d"] | None = None
    chance: float | None = None


Encode = Callable[[Layer], Float[Tensor, "n d"]]  # features of the whole collection, in order, from center views


class Method(nn.Module, ABC):
    """A way to train `net`. Its options are keyword-only arguments of `__init__`, with the paper's defaults."""

    net: Net
    about: ClassVar[str]  # a line for `divcon methods`
    advice: ClassVar[str] = "lower base.lr, or take a larger batch_size"  # for a training that learns nothing
    # options that change the size of its images, with values to suggest
    sizes_by: ClassVar[tuple[tuple[str, int], ...]] = ()

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        """Return the views that the method wants of each image, made from the recipe's pair."""
        return pair

    def sides(self, pair: tuple[View, View]) -> set[int]:
        """Return the widths, in pixels, of the images that the encoder is shown."""
        return {view.size for view in self.views(pair)}

    @abstractmethod
    def forward(self, batch: Batch, at: Step) -> Outcome:
        """Return the loss of a batch, in an `Outcome`."""

    def start_from(self, net: Net) -> None:
        """Start from the weights of a trained net. Called before the first step."""
        self.net.load_state_dict(net.state_dict())

    def begin_cycle(self) -> None:
        """Begin a cycle after the first one, as a training that starts from the own net does. The optimizer's state is deleted."""
        self.start_from(self.net)

    def before_epoch(self, encode: Encode, at: Step) -> None:
        """Prepare an epoch, e.g. cluster the collection. `encode(layer)` returns the features of the whole collection."""

    def resampled_indices(self) -> Int64[Tensor, "n"] | None:
        """Return, for each image, the index of the one to show in its place in this epoch. None: show each image once."""
        return None

    def reset_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that `before_epoch` resets at random. The optimizer then deletes their state."""
        return []

    @torch.no_grad()
    def after_step(self, update: tuple[Tensor, ...], at: Step) -> None:
        """Change the method's state after the optimizer's step, e.g. move a momentum network. `update` is the `Outcome`'s."""
