"""Stop a training before a NaN or an infinite loss or gradient changes the weights."""

from collections.abc import Callable
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

    A flag on the device tells the optimizer to skip this step and all later ones. The CPU reads the flag in the same step.
    With `late` it reads it one step later, so that the CPU and the GPU do not wait for each other; then the optimizer must
    read `found_inf`: torch's fused optimizers and our LARS do.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, late: bool = False):
        self.optimizer, self.late = optimizer, late
        self.last: StepValues | None = None
        self._last_had_fault: Callable[[], bool] | None = None

    def watch(self, loss: Tensor, gradients: list[Tensor], index: Tensor, at: Step) -> None:
        """Check the values of a step after its backward pass and before the optimizer's step."""
        before, norm = self.last, torch.stack(torch._foreach_norm(gradients)).sum()
        fault = dist.all_max((~torch.isfinite(loss.detach() + norm)).float())
        if before is not None:
            fault = torch.maximum(fault, before.fault)
        # Optimizers read this attribute of themselves, which torch.amp.GradScaler sets in the same way: where it is 1, they
        # leave weights and state unchanged. It is not declared, so the type checker does not know it: hence vars().
        vars(self.optimizer)["found_inf"] = fault
        self.last, had_fault = StepValues(fault, loss.detach(), norm, index, at), self._last_had_fault
        self._last_had_fault = sent_to_cpu(fault) if self.late else None
        if not self.late:
            check(self.last)
        elif had_fault is not None and had_fault():
            check(before)

    def check_last_step(self) -> None:
        """Raise FaultError if the last step had a fault. Call it before the weights are saved."""
        check(self.last)


def sent_to_cpu(fault: Tensor) -> Callable[[], bool]:
    """Send a flag to the CPU, and return a function that reads it there.

    Reading the flag itself would wait for all that a GPU was given since: the copy would be its last task. This one is done
    when the flag is known, and the function waits for that alone.
    """
    if not fault.is_cuda:
        return lambda: bool(fault)
    flag = torch.empty((), dtype=fault.dtype, pin_memory=True).copy_(fault, non_blocking=True)
    sent = torch.cuda.current_stream(fault.device).record_event()

    def read() -> bool:
        sent.synchronize()
        return bool(flag)

    return read


def check(values: StepValues | None) -> None:
    """Raise FaultError if the step has a fault."""
    if values is None or not bool(values.fault):
        return
    positions = ", ".join(str(i) for i in values.index[:8].tolist())
    raise FaultError(
        f"the loss or a gradient is not finite (loss {float(values.loss):.4g}, gradient {float(values.gradient_norm):.4g}) at step {values.at.of_training}; the weights "
        f"were not moved. The batch began with the images at positions {positions}. {_advice(values.at)}"
    )


def _advice(at: Step) -> str:
    """Return the options to change. Before the first step the learning rate can't be the cause."""
    return "Set precision=fp32" if at.of_training == 0 else "Lower the stage's lr, or set precision=fp32"
