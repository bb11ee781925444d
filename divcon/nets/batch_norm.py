"""Batch norm over the batch of all ranks. `nn.SyncBatchNorm` needs GPUs; this one works on CPUs too."""

import torch
from torch import Tensor, nn

from .. import dist


class BatchNorm(nn.BatchNorm1d):
    """nn.BatchNorm1d or nn.BatchNorm2d in float32, over the batch of all ranks together."""

    def _check_input_dim(self, x: Tensor) -> None:
        assert x.dim() in (2, 4), f"batch norm takes [B, C] or [B, C, H, W], not {tuple(x.shape)}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or dist.world_size() == 1:
            return super().forward(x.float() if x.dim() == 2 else x)
        mean, var, n = moments_of_all_ranks(x.float())
        self._update_statistics(mean.detach(), var.detach() * n / (n - 1))
        normalized = (x.float() - _per_channel(mean, x)) * _per_channel((var + self.eps).rsqrt(), x)
        if not self.affine:
            return normalized
        return normalized * _per_channel(self.weight, x) + _per_channel(self.bias, x)

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def moments_of_all_ranks(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return the mean and the biased variance of each channel [C] over the batch of all ranks, and the number of
    values of a channel. Each rank has the same number of images."""
    dims = [d for d in range(x.dim()) if d != 1]
    own = torch.stack([x.mean(dims), x.var(dims, correction=0)])
    means, variances = dist.all_gather(own[None]).unbind(
        1
    )  # one message, where sums of squared differences would need two
    mean = means.mean(0)
    var = (variances + (means - mean).square()).mean(0)
    return mean, var, x.numel() / x.shape[1] * dist.world_size()


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


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return one value per channel [C] in a shape that broadcasts against x."""
    return values.view(1, -1, *[1] * (x.dim() - 2))
