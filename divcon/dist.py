"""Collective operations over the ranks of torch.distributed. With one process they change nothing: callers need no special
case.

Losses, batch norm, the training loop and resuming support several ranks; `divcon run` uses one process for now.
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
    """Return the rows of all ranks, in the order of ranks: [n, ...] -> [ranks * n, ...]. Each rank has the same number of rows,
    and in backward gets the sum of the gradients of all ranks."""
    if world_size() == 1:
        return x
    parts: list[Tensor] = _Gather.apply(x)
    return torch.cat(parts)


def all_sum(x: Tensor) -> Tensor:
    """Return the sum over ranks, element by element. In backward each rank gets the sum of the gradients of all ranks."""
    if world_size() == 1:
        return x
    total: Tensor = _Sum.apply(x)
    return total


def draw_rows(draw: Callable[..., Tensor], n: int, *shape: int, device: torch.device) -> Tensor:
    """Draw random numbers for the batch of all ranks, and return the n rows of this rank: [n, *shape].

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


def only_on_rank_zero(function: Callable[[], None]) -> None:
    """Call the function on rank 0 only; the other ranks wait until it is done."""
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


def gather_rows(mine: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the rows of all ranks, in the order of ranks, where rank r has `sizes[r]` rows. There is no gradient."""
    if world_size() == 1:
        return mine
    whole = mine.new_empty((sum(sizes), *mine.shape[1:]))
    for source, rows in enumerate(torch.split(whole, list(sizes))):
        if source == rank():
            rows.copy_(mine)
        if len(rows):
            td.broadcast(rows, src=source)
    return whole
