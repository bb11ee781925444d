"""Parts of a group of ranks that work on different things at the same time."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch.distributed as td
from torch._C._distributed_c10d import Store

from ..signals import stop_if_requested
from .group import Group, current, entered, sharing_memory
from .leader import is_leader, next_key, on_leader, signs_of_life, wait_for
from .lost import lost_otherwise
from .timeout import TIMEOUT


@dataclass(frozen=True)
class Part:
    """One of `parts` equal parts of a group: `number`, or None for a rank that is left over. `size` is the ranks of each."""

    name: str
    number: int | None
    parts: int
    size: int
    whole: Group

    def claim(self) -> int:
        """Return the next number of a count that all parts share, from 0; every rank of a part gets the same one."""
        store = self.whole.store
        return on_leader(
            lambda: 0 if store is None else lost_otherwise(lambda: int(store.add(f"{self.name}/claims", 1))) - 1
        )

    def wait_for_others(self) -> None:
        """Wait until every part has come here."""
        store = self.whole.store
        if store is None:
            return
        if self.number is not None and is_leader():
            lost_otherwise(lambda: store.set(f"{self.name}/ended/{self.number}", ""))
        for part in range(self.parts):
            wait_for(self.whole, lambda part=part: _ended(store, self.name, part), [part * self.size])  # type: ignore[misc]


def _ended(store: Store, name: str, part: int) -> bool:
    stop_if_requested("other ranks save what they are doing")
    return bool(store.check([f"{name}/ended/{part}"]))


@contextlib.contextmanager
def split(name: str, size: int) -> Iterator[Part]:
    """Divide the current group into parts of `size` ranks, in the order of ranks, and compute with one's own part.

    All ranks of the group call this together. Ranks that are left over compute alone.
    """
    whole = current()
    if whole.size <= size:
        yield Part(name, 0, 1, size, whole)
        return
    name = f"{next_key(whole)}/{name}"  # the next division of the same name begins a count of its own
    parts = whole.size // size
    groups = [_new_group(range(part * size, (part + 1) * size)) for part in range(parts)]
    number = whole.rank // size if whole.rank < parts * size else None
    own = _own(name, whole, number, size, groups)
    with signs_of_life(whole), sharing_memory(own) as group, entered(group):
        yield Part(name, number, parts, size, whole)


def _own(
    name: str, whole: Group, number: int | None, size: int, groups: Sequence[td.ProcessGroup | None]
) -> Group:
    """The group of this rank: its part, or itself if it is left over."""
    if number is None:
        return Group(f"{name}/rest{whole.rank}", 0, 1, (whole.hosts[whole.rank],), whole.store)
    first = number * size
    hosts = whole.hosts[first : first + size]
    return Group(f"{name}/part{number}", whole.rank - first, size, hosts, whole.store, groups[number])


def _new_group(ranks: Sequence[int]) -> td.ProcessGroup | None:
    """A process group of these ranks; a single one needs none. torch wants every rank of the world to make every group."""
    if len(ranks) == 1:
        return None
    made = lost_otherwise(lambda: td.new_group(list(ranks), timeout=TIMEOUT))
    return made if isinstance(made, td.ProcessGroup) else None
