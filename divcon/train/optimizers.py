"""SGD, AdamW, LARS and LARC, and which parameters they leave alone."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..methods.contract import Method

Name = Literal["sgd", "adamw", "lars", "larc"]


class LARS(torch.optim.Optimizer):
    """SGD whose step on a tensor is scaled to the tensor's own size (https://arxiv.org/abs/1708.03888, in BYOL's form):
    no decay and no scaling of biases and norms, and the rate multiplies after the momentum. With `spare=False` nothing is
    left alone: that is LARC as SwAV uses it."""

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
        spare: bool = True,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})
        self.spare = spare

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        assert closure is None, "LARS evaluates no closure"
        fault = vars(self).get(
            "found_inf", torch.zeros(())
        )  # as torch's fused optimizers: where it is 1, nothing moves
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group, fault > 0)

    def _move(self, parameter: Tensor, group: dict[str, Any], fault: Tensor) -> None:
        gradient = parameter.grad
        assert gradient is not None
        # what is held still stays: a decay alone, brought to the tensor's own size, would be a step
        fault = fault | (gradient == 0).all()
        if parameter.ndim > 1 or not self.spare:
            gradient = gradient + group["weight_decay"] * parameter
            gradient = gradient * trust_ratio(parameter, gradient, group["trust"])
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        moving = group["momentum"] * state["momentum_buffer"] + gradient
        state["momentum_buffer"].copy_(torch.where(fault, state["momentum_buffer"], moving))
        parameter.sub_(torch.where(fault, 0, group["lr"] * moving))


def trust_ratio(parameter: Tensor, gradient: Tensor, trust: float) -> Tensor:
    """trust * ||p|| / ||g||; 1 where either is zero."""
    size, slope = parameter.norm(), gradient.norm()
    return torch.where((size > 0) & (slope > 0), trust * size / slope, torch.ones_like(size))


def make_optimizer(name: Name, method: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """The optimizer of a method's trainable tensors. Biases and norms (one dimension) are not decayed, but by LARC; what
    the method begins anew in each pass has no momentum."""
    groups = grouped(method, weight_decay, spare=name != "larc")
    if name in ("lars", "larc"):
        return LARS(groups, lr=0.0, spare=name == "lars")
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, fused=True)
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9, fused=True)


def grouped(method: nn.Module, weight_decay: float, *, spare: bool) -> list[dict[str, Any]]:
    """The trainable tensors by what is done with them."""
    brief = {id(p) for p in method.reset_parameters()} if isinstance(method, Method) else set()
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for parameter in method.parameters():
        decayed, begun_anew = parameter.ndim > 1 or not spare, id(parameter) in brief
        if parameter.requires_grad:
            new: dict[str, Any] = {"params": [], "weight_decay": weight_decay if decayed else 0.0}
            new |= {"momentum": 0.0, "betas": (0.0, 0.999)} if begun_anew else {}
            groups.setdefault((begun_anew, not decayed), new)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]
