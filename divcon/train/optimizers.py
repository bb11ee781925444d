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
        fault = vars(self).get("found_inf", torch.zeros(()))  # nonfinite.py sets it; where it is 1, nothing moves
        for group in self.param_groups:
            options = {name: group[name] for name in ("lr", "momentum", "weight_decay", "trust")}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, fault > 0, options)

    def _move(self, parameter: Tensor, gradient: Tensor, fault: Tensor, options: dict[str, float]) -> None:
        # a frozen tensor has a gradient of zero and must not move: scaled to the tensor's norm, its decay would be a step
        fault = fault | (gradient == 0).all()
        if parameter.ndim > 1 or self.adapt_all:
            gradient = gradient + options["weight_decay"] * parameter
            gradient = gradient * trust_ratio(parameter, gradient, options["trust"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = options["momentum"] * state["momentum_buffer"] + gradient
        state["momentum_buffer"].copy_(torch.where(fault, state["momentum_buffer"], buffer))
        parameter.sub_(torch.where(fault, 0, options["lr"] * buffer))


def trust_ratio(parameter: Tensor, gradient: Tensor, trust: float) -> Tensor:
    """Return trust * ||parameter|| / ||gradient||, or 1 if one of the norms is zero."""
    p, g = parameter.norm(), gradient.norm()
    return torch.where((p > 0) & (g > 0), trust * p / g, torch.ones_like(p))


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
