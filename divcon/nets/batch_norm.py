"""Batch norm over the batch of all ranks. `nn.SyncBatchNorm` does this for GPUs only."""

import torch
from torch import Tensor, nn

from .. import dist


class BatchNorm(nn.BatchNorm1d):
    """nn.BatchNorm1d or 2d in float32, whose batch is that of all ranks together."""

    def _check_input_dim(self, x: Tensor) -> None:
        assert x.dim() in (2, 4), f"batch norm takes [B, C] or [B, C, H, W], not {tuple(x.shape)}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or dist.world_size() == 1:
            return super().forward(x.float() if x.dim() == 2 else x)
        mean, var, n = moments_of_all_ranks(x.float())
        self._remember(mean.detach(), var.detach() * n / (n - 1))
        normal = (x.float() - _spread(mean, x)) * _spread((var + self.eps).rsqrt(), x)
        return normal * _spread(self.weight, x) + _spread(self.bias, x) if self.affine else normal

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def moments_of_all_ranks(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and (biased) variance of each channel over the batch of all ranks, and how many values made them."""
    others = [d for d in range(x.dim()) if d != 1]
    n = x.numel() / x.shape[1] * dist.world_size()
    mean = dist.all_sum(x.sum(others)) / n
    var = dist.all_sum((x - _spread(mean, x)).square().sum(others)) / n
    return mean, var, n


def over_all_ranks(module: nn.Module) -> nn.Module:
    """The same network with every batch norm over all ranks; itself when there is one rank."""
    if dist.world_size() == 1:
        return module
    for name, child in module.named_children():
        module.add_module(name, over_all_ranks(child))
    return _over_all_ranks(module) if isinstance(module, nn.BatchNorm2d) else module


def _over_all_ranks(norm: nn.BatchNorm2d) -> nn.Module:
    ours = _Followed(norm.num_features, eps=norm.eps, momentum=norm.momentum, affine=norm.affine)
    for name, child in norm.named_children():  # timm's norms carry their activation
        ours.add_module(name, child)
    ours.load_state_dict(norm.state_dict())
    return ours


class _Followed(BatchNorm):
    """Batch norm, then what was put into it; its weights have the names they have without ranks."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        for follower in self.children():
            x = follower(x)
        return x


def _spread(per_channel: Tensor, x: Tensor) -> Tensor:
    """A value a channel in a shape that broadcasts against x."""
    return per_channel.view(1, -1, *[1] * (x.dim() - 2))
