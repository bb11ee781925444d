"""Collective operations over the ranks of torch.distributed; on one process each returns its input, so callers never ask.

Losses, norms, the training loop and resuming know ranks; `divcon run` does not start any yet.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as td
from torch import Tensor
from torch.autograd.function import FunctionCtx


def world_size() -> int:
    """The number of ranks."""
    return td.get_world_size() if td.is_initialized() else 1


def rank() -> int:
    """The number of this process among the ranks, from 0."""
    return td.get_rank() if td.is_initialized() else 0


def all_gather(x: Tensor) -> Tensor:
    """Return the rows of all ranks, by rank: [n, ...] -> [ranks * n, ...]. Gradients flow back to each rank."""
    if world_size() == 1:
        return x
    parts: list[Tensor] = _Gather.apply(x)
    return torch.cat(parts)


def all_sum(x: Tensor) -> Tensor:
    """Return the sum over ranks, element by element. Gradients flow back to each rank."""
    if world_size() == 1:
        return x
    total: Tensor = _Sum.apply(x)
    return total


def draw_rows(draw: Callable[..., Tensor], n: int, *shape: int, device: torch.device) -> Tensor:
    """Return this rank's [n, *shape] of the random numbers that one process would draw for the batch of all ranks.

    `draw` is torch.randn or a function like it. All ranks' generators must be in the same state, as the training loop sets
    them at each step.
    """
    return draw(world_size() * n, *shape, device=device).chunk(world_size())[rank()]


def any_rank(flag: bool) -> bool:
    """Return True if the flag is True on any rank."""
    return flag if world_size() == 1 else bool(all_max(torch.tensor(float(flag))))


def all_max(x: Tensor) -> Tensor:
    """Replace a tensor by the maximum over ranks, element by element, and return it."""
    if world_size() > 1:
        td.all_reduce(x, op=td.ReduceOp.MAX)
    return x


def all_mean(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over ranks."""
    if world_size() == 1:
        return
    for tensor in tensors:
        td.all_reduce(tensor)
        tensor /= world_size()


def rank_zero_first(function: Callable[[], None]) -> None:
    """Call the function on rank 0 while the other ranks wait."""
    if rank() == 0:
        function()
    if world_size() > 1:
        td.barrier()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> tuple[Tensor, ...]:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        td.all_gather(parts, x.contiguous())
        return tuple(parts)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        stacked = torch.stack(gradients)
        td.all_reduce(stacked)
        return stacked[rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        td.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        td.all_reduce(total)
        return total
