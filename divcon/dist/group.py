"""Groups of ranks: all processes of a run, those of one expert, or this process alone."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch.distributed as td
from torch._C._distributed_c10d import Store  # torch.distributed has it, too, but its stubs do not say so

from .meeting import share_memory
from .shared_memory import SharedMemory


@dataclass(frozen=True)
class Group:
    """The ranks that compute together. `rank` is the number of this process among `size`; `hosts` has the host of each rank.

    `store` is shared by all groups, so keys in it begin with `name`. Collective operations go through `memory`, where the ranks
    share it, or through `process_group`.
    """

    name: str
    rank: int
    size: int
    hosts: tuple[str, ...] = ("",)
    store: Store | None = None
    process_group: td.ProcessGroup | None = None
    memory: SharedMemory | None = None

    @property
    def first_here(self) -> int:
        """The lowest rank of this group on the host of this process."""
        return self.hosts.index(self.hosts[self.rank])


ALONE = Group("alone", 0, 1)
_entered: list[Group] = []  # the last one is the group that this process computes with


def current() -> Group:
    """The group that this process computes with now."""
    return _entered[-1] if _entered else ALONE


@contextlib.contextmanager
def entered(group: Group) -> Iterator[None]:
    """Compute with this group while the block runs."""
    _entered.append(group)
    try:
        yield
    finally:
        _entered.pop()


def alone() -> contextlib.AbstractContextManager[None]:
    """Compute without the other ranks while the block runs: there is one rank, and nothing is collective."""
    return entered(ALONE)


@contextlib.contextmanager
def sharing_memory(group: Group) -> Iterator[Group]:
    """Yield the group, with memory that its ranks share if they are on one host. All of them call this together."""
    if group.size == 1 or len(set(group.hosts)) > 1 or group.store is None:
        yield group
        return
    memory = share_memory(group.store, group.name, group.rank, group.size)
    try:
        yield replace(group, memory=memory)
    finally:
        if memory:
            memory.close()
