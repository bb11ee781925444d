"""3x3 convolutions of maps of at most 2 x 2 pixels, as matrix products.

There the padding is most of what a convolution reads, and each pair of an input and an output pixel meets in one tap of
the kernel. So the map is a row of pixels, and one matrix takes it to all of the output: its blocks are the taps. It is
less than half the arithmetic, in the one shape processors are best at (docs/performance.md).
"""

import functools
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

MOST = 2  # pixels on a side
WIDE = 128  # channels: with fewer, making the matrix takes what the product saves
TAPS = 9

M = TypeVar("M", bound=nn.Module)


def with_fast_small_maps(network: M) -> M:
    """The network with these convolutions in place of its own: the same parameters, names and, but for rounding, outputs."""
    for name, child in network.named_children():
        network.add_module(name, _Conv(child) if _fits(child) else with_fast_small_maps(child))
    return network


def _fits(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.stride == module.padding == module.dilation == (1, 1)
        and module.groups == 1
        and min(module.in_channels, module.out_channels) >= WIDE
        and module.padding_mode == "zeros"
    )


class _Conv(nn.Conv2d):
    """Looks at each map's size; a larger one is convolved as ever."""

    def __init__(self, conv: nn.Module):
        assert isinstance(conv, nn.Conv2d)
        super().__init__(conv.in_channels, conv.out_channels, 3, 1, 1, bias=conv.bias is not None, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_cpu or x.dim() != 4 or x.numel() == 0 or max(x.shape[2:]) > MOST:
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            x, weight = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight))
        y = convolved(x, weight)
        return y if bias is None else y + bias.to(y.dtype).view(1, -1, 1, 1)


def convolved(x: Float[Tensor, "b c h w"], weight: Float[Tensor, "o c 3 3"]) -> Float[Tensor, "b o h w"]:
    """conv2d(x, weight, padding=1), in the channels-last layout."""
    b, c, h, w = x.shape
    row = x.permute(0, 2, 3, 1).reshape(b, h * w * c)
    taps = weight.permute(0, 2, 3, 1).reshape(-1, TAPS, c)
    y: Tensor = _Product.apply(row, taps, taps_between(h, w))
    return y.view(b, -1, h, w).contiguous(memory_format=torch.channels_last)


@functools.cache
def taps_between(h: int, w: int) -> Int64[Tensor, "out into"]:
    """Through which tap each pixel of the output, row by row, reads each pixel of the input."""
    with torch.inference_mode(False):  # it is kept, and may be wanted for a gradient next time
        y, x = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
        return 3 * (y - y[:, None] + 1) + x - x[:, None] + 1


class _Product(torch.autograd.Function):
    """row @ matrix.T, where the matrix is made of taps; its gradient is added up tap by tap, in float32 at least."""

    @staticmethod
    def forward(
        ctx: Any, row: Float[Tensor, "b into_c"], taps: Float[Tensor, "o 9 c"], between: Int64[Tensor, "out into"]
    ) -> Float[Tensor, "b o_out"]:
        matrix = taps[:, between.flatten()].view(-1, row.shape[1])
        ctx.save_for_backward(row, matrix, between)
        return row @ matrix.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (slope,), (row, matrix, between) = gradients, ctx.saved_tensors
        to_row = slope @ matrix if ctx.needs_input_grad[0] else None
        to_taps = _folded(slope.T @ row, between) if ctx.needs_input_grad[1] else None
        return to_row, to_taps, None


def _folded(to_matrix: Float[Tensor, "o_out into_c"], between: Int64[Tensor, "out into"]) -> Float[Tensor, "o 9 c"]:
    """The gradient of each tap: the sum over the blocks it stands in."""
    blocks = to_matrix.view(-1, between.numel(), to_matrix.shape[1] // between.shape[1])
    places = [(between.flatten() == tap).nonzero()[:, 0] for tap in range(TAPS)]
    precise = torch.promote_types(to_matrix.dtype, torch.float32)
    parts = [blocks[:, at].sum(1, dtype=precise) for at in places]
    return torch.stack(parts, 1).to(to_matrix.dtype)
