"""Batch norm over the batch of all ranks. `nn.SyncBatchNorm` needs GPUs; this one works on CPUs too."""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .. import dist


class BatchNorm(nn.BatchNorm1d):
    """nn.BatchNorm1d or nn.BatchNorm2d in float32, over the batch of all ranks together."""

    def _check_input_dim(self, x: Tensor) -> None:
        assert x.dim() in (2, 4), f"batch norm takes [B, C] or [B, C, H, W], not {tuple(x.shape)}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or dist.world_size() == 1:
            return super().forward(x.float() if x.dim() == 2 else x)
        y: Tensor
        y, mean, var = _Normalize.apply(x.float() if x.dim() == 2 else x, self.weight, self.bias, self.eps)
        n = x.numel() / x.shape[1] * dist.world_size()
        self._update_statistics(mean, var * n / (n - 1))
        return y

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


class _Context(Protocol):
    """The part of torch's autograd context that is used here."""

    saved_tensors: tuple[Tensor, Tensor, Tensor, Tensor | None]
    eps: float

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...
    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


class _Normalize(torch.autograd.Function):
    """Batch norm of torch's own kernels, which do all but the two sums over ranks: those of the values, and of the gradients."""

    @staticmethod
    def forward(
        ctx: _Context, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = moments_of_all_ranks(x)
        ctx.save_for_backward(x, mean, var, weight)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var)
        return F.batch_norm(x, mean, var, weight, bias, eps=eps), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        """The gradient is w/s (dy - mean(dy) - z mean(z dy)), with z = (x - mean(x))/s and means over all ranks."""
        x, mean, var, weight = ctx.saved_tensors
        scale = (var + ctx.eps).rsqrt() * (1 if weight is None else weight)
        z_dy, own_dy = _sums(dy, x, mean, var, ctx.eps)
        mean_z_dy, mean_dy = dist.all_sum(torch.stack([z_dy, own_dy])) / (x.numel() / x.shape[1] * dist.world_size())
        dx = F.batch_norm(x, mean, var, -scale * mean_z_dy, -scale * mean_dy, eps=ctx.eps)
        dx += F.batch_norm(dy, torch.zeros_like(mean), torch.ones_like(var), scale, eps=0.0)
        return dx, None if weight is None else z_dy, None if weight is None else own_dy, None


def _sums(dy: Tensor, x: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return, for each channel, the sums of z dy and of dy over this rank's batch."""
    scale = (var + eps).rsqrt()
    _, z_dy, own_dy = torch.ops.aten.native_batch_norm_backward(
        dy, x, torch.ones_like(mean), None, None, mean, scale, True, eps, [False, True, True]
    )
    return z_dy, own_dy


def moments_of_all_ranks(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance of each channel [C] over the batch of all ranks. Each has the same number of images."""
    nothing = torch.zeros(2, x.shape[1], device=x.device)  # in float32, and so are the results
    own = torch.stack(torch.batch_norm_update_stats(x, nothing[0], nothing[1], momentum=1.0))
    means, variances = dist.all_gather(own[None]).unbind(1)
    mean = means.mean(0)  # one message, where sums of squared differences would need two
    return mean, (variances + (means - mean).square()).mean(0)


def over_all_ranks(module: nn.Module) -> nn.Module:
    """Replace each BatchNorm2d of a network by one with statistics over all ranks, and return the network. With one rank nothing
    changes. Call it before the network is moved to a device. Heads use BatchNorm from the start."""
    if dist.world_size() == 1:
        return module
    for name, child in module.named_children():
        module.add_module(name, over_all_ranks(child))
    return _replaced(module) if isinstance(module, nn.BatchNorm2d) else module


def _replaced(norm: nn.BatchNorm2d) -> nn.Module:
    replacement = _NormThenActivation(norm.num_features, eps=norm.eps, momentum=norm.momentum, affine=norm.affine)
    for name, child in norm.named_children():  # those of timm have dropout and activation as children
        replacement.add_module(name, child)
    replacement.load_state_dict(norm.state_dict())
    return replacement


class _NormThenActivation(BatchNorm):
    """Batch norm, then its submodules. The weights have the same names as in the norm that it replaces."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        for activation in self.children():
            x = activation(x)
        return x
