"""What stands between the weights and a number that is not finite."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import dist
from ..errors import FaultError
from ..methods.contract import Step


@dataclass(frozen=True)
class StepValues:
    """A step's loss and the size of its gradient; `fault` is 1 where this step's, or an earlier one's, are not finite."""

    fault: Tensor
    loss: Tensor
    size: Tensor
    index: Tensor
    at: Step


class NonFiniteGuard:
    """Stops a training before such a number moves the weights, on every rank at the same step.

    The optimizer is told on the device not to move, now and ever after. That there is a fault is read at once, or, where
    reading would make a device wait for its host, a step `late`.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, late: bool = False):
        self.optimizer, self.late = optimizer, late
        self.seen: StepValues | None = None

    def watch(self, loss: Tensor, gradients: list[Tensor], index: Tensor, at: Step) -> None:
        before, size = self.seen, torch.stack(torch._foreach_norm(gradients)).sum()
        fault = dist.all_max((~torch.isfinite(loss.detach() + size)).float())
        if before is not None:
            fault = torch.maximum(fault, before.fault)
        vars(self.optimizer)["found_inf"] = fault  # torch's own optimizers look there, for mixed precision's sake
        self.seen = StepValues(fault, loss.detach(), size, index, at)
        check(before if self.late else self.seen)

    def settle(self) -> None:
        """Read what is not read yet: before the weights are kept."""
        check(self.seen)


def check(seen: StepValues | None) -> None:
    """Stop at a step with a fault."""
    if seen is None or not bool(seen.fault):
        return
    positions = ", ".join(str(i) for i in seen.index[:8].tolist())
    raise FaultError(
        f"loss {float(seen.loss):.4g}, gradient {float(seen.size):.4g} at step {seen.at.step}; the weights were not moved. "
        f"The batch began with the images at positions {positions}. {_what_helps(seen.at)}"
    )


def _what_helps(at: Step) -> str:
    """Before the first move of the weights, how far they move does not matter."""
    return "Set precision=fp32" if at.step == 0 else "Lower the stage's lr, or set precision=fp32"
