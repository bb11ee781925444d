"""Groups of ranks: all processes of a run, those of one expert, or this process alone."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch.distributed as td
from torch._C._distributed_c10d import Store  # torch.distributed has it, too, but its stubs do not say so


@dataclass(frozen=True)
class Group:
    """The ranks that compute together. `rank` is the number of this process among `size`; `hosts` has the host of each rank.

    `store` is shared by all groups, so keys in it begin with `name`. Collective operations go through `process_group`.
    """

    name: str
    rank: int
    size: int
    hosts: tuple[str, ...] = ("",)
    store: Store | None = None
    process_group: td.ProcessGroup | None = None

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
