"""Collective operations over the ranks of the current group. With one rank they change nothing: callers need no special case."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as td
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .group import current
from .lost import lost_otherwise

BUCKET = 25 * 2**20  # bytes of tensors that are summed in one message
OPERATIONS = {torch.add: td.ReduceOp.SUM, torch.maximum: td.ReduceOp.MAX}


def world_size() -> int:
    """The number of ranks."""
    return current().size


def rank() -> int:
    """The number of this process among the ranks, from 0."""
    return current().rank


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


def any_rank(*flags: bool) -> tuple[bool, ...]:
    """Return, for each flag, True if it is True on any rank."""
    return flags if world_size() == 1 else tuple(bool(flag) for flag in all_max(torch.tensor(flags, dtype=torch.float32)))


def all_max(x: Tensor) -> Tensor:
    """Replace a tensor by the maximum over ranks, element by element, and return it."""
    if world_size() > 1:
        _reduce(x, torch.maximum)
    return x


def all_mean(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over ranks. Small tensors travel together: a message costs more than its bytes."""
    if world_size() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        _reduce(flat)
        flat /= world_size()
        for tensor, mean in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket])):
            tensor.copy_(mean.view_as(tensor))


def mean_of(values: Sequence[float]) -> list[float]:
    """Return the mean over ranks of each number."""
    if world_size() == 1:
        return list(values)
    means: list[float] = (_reduce(torch.tensor(values, dtype=torch.float64)) / world_size()).tolist()
    return means


def gather_rows(mine: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the rows of all ranks, in the order of ranks, where rank r has `sizes[r]` rows. There is no gradient."""
    if world_size() == 1:
        return mine
    longest = mine.new_zeros((max(sizes), *mine.shape[1:]))
    longest[: len(mine)] = mine
    return torch.cat([part[:size] for part, size in zip(_gather(longest), sizes)])


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in their order, as many at a time as fit into BUCKET; those of a bucket have one type and device."""
    bucket, size = list[Tensor](), 0
    for tensor in tensors:
        another = bucket and (tensor.dtype, tensor.device) != (bucket[0].dtype, bucket[0].device)
        if another or size + tensor.nbytes > BUCKET and bucket:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


def _reduce(x: Tensor, combine: Callable[[Tensor, Tensor], Tensor] = torch.add) -> Tensor:
    """Replace a contiguous tensor by its sum, or maximum, over ranks, and return it."""
    group = current()
    if group.memory and x.device.type == "cpu":
        group.memory.reduce(x, combine)
    else:
        lost_otherwise(lambda: td.all_reduce(x, op=OPERATIONS[combine], group=group.process_group))
    return x


def _gather(x: Tensor) -> list[Tensor]:
    """Return the contiguous tensor of each rank; all have one shape."""
    group = current()
    if group.memory and x.device.type == "cpu":
        return group.memory.gather(x)
    parts = [torch.empty_like(x) for _ in range(group.size)]
    lost_otherwise(lambda: td.all_gather(parts, x, group=group.process_group))
    return parts


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(_gather(x.contiguous()))

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        return _reduce(torch.stack(gradients))[rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        return _reduce(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return _reduce(gradient.clone(memory_format=torch.contiguous_format))
