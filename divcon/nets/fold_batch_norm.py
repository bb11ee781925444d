"""A frozen network with each batch norm worked into the convolution before it: the same outputs, a pass over memory less."""

import copy
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

from .net import Net

CLOSE = 1e-3  # of the largest output: as near as float32 brings two ways of adding up


@torch.no_grad()
def fold_batch_norms(net: Net, size: int) -> Net:
    """A copy for inference on images of so many pixels; a plain copy where folding would change what it says."""
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    plain = copy.deepcopy(net).cpu().eval()
    quick = copy.deepcopy(plain)
    for conv, norm in _pairs(quick, noise):
        _fold(quick, conv, norm)
    truth, seen = plain(noise, "pool"), quick(noise, "pool")
    return quick if (seen - truth).abs().max() <= CLOSE * truth.abs().max() else plain


def _pairs(net: Net, noise: Float[Tensor, "b 3 h w"]) -> list[tuple[str, str]]:
    """The names of convolutions and of the batch norms that are given their outputs, seen by watching the noise pass."""
    made: list[tuple[str, Tensor]] = []
    pairs: list[tuple[str, str]] = []

    def watch(name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made.append((name, output))
        else:
            pairs.extend((conv, name) for conv, its in made if its is given[0])

    watched = [
        (name, m)
        for name, m in net.named_modules()
        if isinstance(m, nn.Conv2d) or (isinstance(m, nn.BatchNorm2d) and m.running_mean is not None)
    ]
    handles = [module.register_forward_hook(partial(watch, name)) for name, module in watched]
    net(noise, "pool")
    for handle in handles:
        handle.remove()
    return pairs


def _fold(net: Net, conv_name: str, norm_name: str) -> None:
    """Work the norm into the convolution; what one of timm's carries with it, its activation, stays in its place."""
    conv, norm = net.get_submodule(conv_name), net.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    net.set_submodule(norm_name, nn.Sequential(*norm.children()))
