"""SGD, AdamW, LARS and LARC, and the groups of parameters that they treat alike."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..methods.contract import Method

Name = Literal["sgd", "adamw", "lars", "larc"]


class LARS(torch.optim.Optimizer):
    """SGD whose step on a tensor is scaled by the tensor's norm (https://arxiv.org/abs/1708.03888, in BYOL's form).

    The learning rate multiplies the momentum buffer, not the gradient. Tensors of one dimension (biases, norms) are
    neither decayed nor scaled, unless `adapt_all` is true: that is LARC as SwAV uses it.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, object]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
        adapt_all: bool = False,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})
        self.adapt_all = adapt_all

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Move every parameter that has a gradient."""
        assert closure is None, "LARS evaluates no closure"
        fault = vars(self).get("found_inf", torch.zeros(())) > 0  # nonfinite.py sets it; where it is 1, nothing moves
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            for scaled in (True, False):
                parameters = [p for p in moved if (p.ndim > 1 or self.adapt_all) == scaled]
                if parameters:
                    self._move(parameters, fault, group, scaled)

    def _move(self, parameters: list[Tensor], fault: Tensor, options: dict[str, Any], scaled: bool) -> None:
        """Move parameters: all of them by one call for each operation, because a GPU does a call for one tensor in less time
        than it takes to begin it."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # a frozen tensor has a gradient of zero and must not move: scaled to the tensor's norm, its decay would be a step
        faults = (fault | (torch.stack(torch._foreach_norm(gradients, float("inf"))) == 0)).unbind()
        if scaled:
            decayed = list(torch._foreach_mul(parameters, options["weight_decay"]))
            torch._foreach_add_(decayed, gradients)
            torch._foreach_mul_(decayed, trust_ratios(parameters, decayed, options["trust"]))
            gradients = decayed
        buffers = [self._momentum_buffer(parameter) for parameter in parameters]
        steps = torch._foreach_mul(buffers, options["momentum"])
        torch._foreach_add_(steps, gradients)
        for fault, buffer, step in zip(faults, buffers, steps, strict=True):
            buffer.copy_(torch.where(fault, buffer, step))
        torch._foreach_mul_(steps, options["lr"])
        torch._foreach_sub_(
            parameters, [torch.where(fault, 0, step) for fault, step in zip(faults, steps, strict=True)]
        )

    def _momentum_buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def trust_ratios(parameters: list[Tensor], gradients: list[Tensor], trust: float) -> list[Tensor]:
    """Return trust * ||parameter|| / ||gradient|| for each parameter, or 1 if one of the norms is zero."""
    p, g = (torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, gradients))
    return list(torch.where((p > 0) & (g > 0), trust * p / g, torch.ones_like(p)).unbind())


def make_optimizer(name: Name, method: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Return the optimizer of the trainable parameters of a method.

    Tensors of one dimension (biases, norms) are not decayed, except by LARC. Parameters that the method resets in each
    epoch have no momentum. The learning rate is 0 until the training sets it.
    """
    groups = parameter_groups(method, weight_decay, decay_all=name == "larc")
    if name in ("lars", "larc"):
        return LARS(groups, lr=0.0, adapt_all=name == "larc")
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, fused=True)
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9, fused=True)


def parameter_groups(method: nn.Module, weight_decay: float, *, decay_all: bool) -> list[dict[str, object]]:
    """Return the trainable parameters in torch's parameter groups: with or without momentum, with or without decay."""
    reset = {id(p) for p in method.reset_parameters()} if isinstance(method, Method) else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in method.parameters():
        if parameter.requires_grad:
            undecayed = parameter.ndim <= 1 and not decay_all
            groups.setdefault((id(parameter) in reset, undecayed), []).append(parameter)
    no_momentum = {"momentum": 0.0, "betas": (0.0, 0.999)}
    return [
        {"params": parameters, "weight_decay": 0.0 if undecayed else weight_decay, **(no_momentum if is_reset else {})}
        for (is_reset, undecayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
