"""Batch norms of a frozen network, folded into the convolutions before them: the same outputs in less time."""

import copy
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

from .net import Net

TOLERANCE = 1e-3  # of the largest output: float32 sums in another order differ by so much


@torch.no_grad()
def fold_batch_norms(net: Net, size: int) -> Net:
    """Return a copy of the net for inference, with folded batch norms if that does not change its outputs.

    `size` is the side of the images in pixels.
    """
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    plain = copy.deepcopy(net).cpu().eval()
    folded = copy.deepcopy(plain)
    for conv, norm in _conv_norm_pairs(folded, noise):
        _fold(folded, conv, norm)
    expected, found = plain(noise, "pool"), folded(noise, "pool")
    return folded if (found - expected).abs().max() <= TOLERANCE * expected.abs().max() else plain


def _conv_norm_pairs(net: Net, noise: Float[Tensor, "b 3 h w"]) -> list[tuple[str, str]]:
    """Return the names of each convolution and of the batch norm that takes its output, as hooks see them on the noise."""
    outputs: list[tuple[str, Tensor]] = []  # of the convolutions
    pairs: list[tuple[str, str]] = []

    def record(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            outputs.append((name, output))
        else:
            pairs.extend((conv, name) for conv, conv_output in outputs if conv_output is inputs[0])

    modules = [
        (name, m)
        for name, m in net.named_modules()
        if isinstance(m, nn.Conv2d) or (isinstance(m, nn.BatchNorm2d) and m.running_mean is not None)
    ]
    handles = [module.register_forward_hook(partial(record, name)) for name, module in modules]
    net(noise, "pool")
    for handle in handles:
        handle.remove()
    return pairs


def _fold(net: Net, conv_name: str, norm_name: str) -> None:
    """Fold the norm into the convolution. A norm of timm contains its activation, which takes the norm's place."""
    conv, norm = net.get_submodule(conv_name), net.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    net.set_submodule(norm_name, nn.Sequential(*norm.children()))
