"""Many processes as one: each function is the identity when there is only one, so callers never ask.

`start()` joins those that torchrun has started (gloo on CPUs, NCCL on GPUs). Losses, norms, loop and resume know ranks;
`divcon run` does not start any yet.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as td
from torch import Tensor


def join_ranks(device: str) -> None:
    """Join the other ranks that torchrun has started; nothing, and no port, when there are none."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not td.is_initialized():
        td.init_process_group("nccl" if device.startswith("cuda") else "gloo")


def world_size() -> int:
    return td.get_world_size() if td.is_initialized() else 1


def rank() -> int:
    return td.get_rank() if td.is_initialized() else 0


def all_gather(x: Tensor) -> Tensor:
    """The rows of all ranks, in order of rank; gradients flow back to each."""
    if world_size() == 1:
        return x
    parts: list[Tensor] = _Gather.apply(x)
    return torch.cat(parts)


def all_sum(x: Tensor) -> Tensor:
    """The sum over ranks; gradients flow back to each."""
    if world_size() == 1:
        return x
    result: Tensor = _Sum.apply(x)
    return result


def draw_rows(kind: Callable[..., Tensor], n: int, *shape: int, device: torch.device) -> Tensor:
    """This rank's n rows of what `kind`, e.g. torch.randn, draws for the batch of all ranks: the rows it has on one rank.

    Right where all ranks' generators are in one state, as the loop leaves them at each step."""
    return kind(world_size() * n, *shape, device=device).chunk(world_size())[rank()]


def any_rank(flag: bool) -> bool:
    """Whether the flag is up on any rank."""
    return flag if world_size() == 1 else bool(all_max(torch.tensor(float(flag))))


def all_max(x: Tensor) -> Tensor:
    """The largest of the ranks' values, element by element; the tensor itself is overwritten."""
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


def rank_zero_first(do: Callable[[], None]) -> None:
    """Let rank 0 do it while the others wait."""
    if rank() == 0:
        do()
    if world_size() > 1:
        td.barrier()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        td.all_gather(parts, x.contiguous())
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        stacked = torch.stack(gradients)
        td.all_reduce(stacked)
        return stacked[rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        td.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        td.all_reduce(total)
        return total
