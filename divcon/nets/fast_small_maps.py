"""3x3 convolutions of maps of at most 2 x 2 pixels, computed as matrix products.

On so small a map a convolution mostly reads padding, and each pair of an input and an output pixel meets in one tap of
the kernel. So the map is flattened to a row, and one matrix whose blocks are the taps maps it to the whole output. This
takes less than half the arithmetic, in the one shape that processors are best at (docs/performance.md).
"""

import functools
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

MAX_SIDE = 2  # pixels
MIN_CHANNELS = 128  # with fewer, making the matrix takes as long as the product saves
TAPS = 9

M = TypeVar("M", bound=nn.Module)


def with_fast_small_maps(network: M) -> M:
    """Replace the 3x3 convolutions of a network, and return it.

    The parameters, their names and, except for rounding, the outputs stay the same.
    """
    for name, child in network.named_children():
        network.add_module(name, _Conv(child) if _is_replaceable(child) else with_fast_small_maps(child))
    return network


def _is_replaceable(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.stride == module.padding == module.dilation == (1, 1)
        and module.groups == 1
        and min(module.in_channels, module.out_channels) >= MIN_CHANNELS
        and module.padding_mode == "zeros"
    )


class _Conv(nn.Conv2d):
    """A convolution that computes small maps as a product, and larger ones as nn.Conv2d does."""

    def __init__(self, conv: nn.Module):
        assert isinstance(conv, nn.Conv2d)
        super().__init__(conv.in_channels, conv.out_channels, 3, 1, 1, bias=conv.bias is not None, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_cpu or x.dim() != 4 or x.numel() == 0 or max(x.shape[2:]) > MAX_SIDE:
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            x, weight = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight))
        y = convolved(x, weight)
        return y if bias is None else y + bias.to(y.dtype).view(1, -1, 1, 1)


def convolved(x: Float[Tensor, "b c h w"], weight: Float[Tensor, "o c 3 3"]) -> Float[Tensor, "b o h w"]:
    """Return conv2d(x, weight, padding=1), in channels-last memory format."""
    b, c, h, w = x.shape
    row = x.permute(0, 2, 3, 1).reshape(b, h * w * c)
    taps = weight.permute(0, 2, 3, 1).reshape(-1, TAPS, c)
    y: Tensor = _Product.apply(row, taps, taps_between(h, w))
    return y.view(b, -1, h, w).contiguous(memory_format=torch.channels_last)


@functools.cache
def taps_between(h: int, w: int) -> Int64[Tensor, "out into"]:
    """Return the number of the tap through which each output pixel reads each input pixel; pixels are counted by rows."""
    with torch.inference_mode(False):  # the cached tensor may take part in a gradient later
        y, x = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
        return 3 * (y - y[:, None] + 1) + x - x[:, None] + 1


class _Context(Protocol):
    """The part of torch's autograd context that is used here."""

    saved_tensors: tuple[Tensor, Tensor, Tensor]
    needs_input_grad: tuple[bool, bool, bool]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Product(torch.autograd.Function):
    """row @ matrix.T for a matrix of taps. The gradient is summed for each tap, in float32 at least."""

    @staticmethod
    def forward(
        ctx: _Context,
        row: Float[Tensor, "b into_c"],
        taps: Float[Tensor, "o 9 c"],
        between: Int64[Tensor, "out into"],
    ) -> Float[Tensor, "b o_out"]:
        matrix = taps[:, between.flatten()].view(-1, row.shape[1])
        ctx.save_for_backward(row, matrix, between)
        return row @ matrix.T

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,), (row, matrix, between) = gradients, ctx.saved_tensors
        row_gradient = gradient @ matrix if ctx.needs_input_grad[0] else None
        taps_gradient = _sum_of_blocks(gradient.T @ row, between) if ctx.needs_input_grad[1] else None
        return row_gradient, taps_gradient, None


def _sum_of_blocks(
    matrix_gradient: Float[Tensor, "o_out into_c"], between: Int64[Tensor, "out into"]
) -> Float[Tensor, "o 9 c"]:
    """Return the gradient of each tap: the sum over the blocks of the matrix that it fills."""
    blocks = matrix_gradient.view(-1, between.numel(), matrix_gradient.shape[1] // between.shape[1])
    blocks_of_taps = [(between.flatten() == tap).nonzero()[:, 0] for tap in range(TAPS)]
    dtype = torch.promote_types(matrix_gradient.dtype, torch.float32)
    sums = [blocks[:, own].sum(1, dtype=dtype) for own in blocks_of_taps]
    return torch.stack(sums, 1).to(matrix_gradient.dtype)
