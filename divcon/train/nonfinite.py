"""The check that no loss or gradient that is not finite moves a weight."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import dist
from ..errors import FaultError
from ..methods.contract import Step


@dataclass(frozen=True)
class StepValues:
    """The loss and the gradient norm of a step, and the positions of its images.

    `fault` is 1 if a value of this step or of an earlier step is not finite on any rank, else 0.
    """

    fault: Tensor
    loss: Tensor
    gradient_norm: Tensor
    index: Tensor
    at: Step


class NonFiniteGuard:
    """Stops a training before a value that is not finite moves a weight, on every rank at the same step.

    The optimizer learns on the device that it must not move the weights, in this step and in all later ones. The host
    reads the fault at once. With `late` it reads the fault one step later, so that a GPU need not wait for the host.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, late: bool = False):
        self.optimizer, self.late = optimizer, late
        self.last: StepValues | None = None

    def watch(self, loss: Tensor, gradients: list[Tensor], index: Tensor, at: Step) -> None:
        """Check the values of a step after its backward pass and before the optimizer's step."""
        before, norm = self.last, torch.stack(torch._foreach_norm(gradients)).sum()
        fault = dist.all_max((~torch.isfinite(loss.detach() + norm)).float())
        if before is not None:
            fault = torch.maximum(fault, before.fault)
        # torch's fused optimizers read this attribute of themselves, which torch.amp.GradScaler sets in the same way:
        # where it is 1, they leave weights and state unchanged. It is no declared attribute, hence vars().
        vars(self.optimizer)["found_inf"] = fault
        self.last = StepValues(fault, loss.detach(), norm, index, at)
        check(before if self.late else self.last)

    def check_last_step(self) -> None:
        """Raise FaultError if the last step had a fault. Call it before the weights are saved."""
        check(self.last)


def check(values: StepValues | None) -> None:
    """Raise FaultError if the step has a fault."""
    if values is None or not bool(values.fault):
        return
    positions = ", ".join(str(i) for i in values.index[:8].tolist())
    raise FaultError(
        f"loss {float(values.loss):.4g}, gradient {float(values.gradient_norm):.4g} at step {values.at.step}; the weights "
        f"were not moved. The batch began with the images at positions {positions}. {_advice(values.at)}"
    )


def _advice(at: Step) -> str:
    """Before the first step the learning rate can't be the cause."""
    return "Set precision=fp32" if at.step == 0 else "Lower the stage's lr, or set precision=fp32"
