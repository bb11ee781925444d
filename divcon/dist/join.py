"""Join the other ranks of a run: open the process group once, and close it at the end."""

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.distributed as td
from torch._C._distributed_c10d import PrefixStore, Store

from ..ranks import Place, place
from .group import ALONE, Group, current, entered, sharing_memory
from .lost import lost_otherwise
from .rendezvous import met
from .timeout import TIMEOUT


@contextlib.contextmanager
def joined(store: Store | None = None, at: Place | None = None) -> Iterator[None]:
    """Compute with the other ranks while the block runs; a process that no launcher started stays alone, and opens no port.

    The ranks meet in `store`, or, without one, at the launcher's address. A program that has a process group already lends it.
    """
    at = at or place()
    if current() is not ALONE or (not td.is_initialized() and (at is None or at.world == 1)):
        yield
    elif td.is_initialized():
        with sharing_memory(_lent_group()) as group, entered(group):
            yield
    else:
        assert at is not None
        with (
            contextlib.nullcontext(store) if store else met(at) as meeting,
            _opened(meeting, at) as group,
            entered(group),
        ):
            yield


@contextlib.contextmanager
def _opened(store: Store, at: Place) -> Iterator[Group]:
    """Open a process group, in which torch.device("cuda") is the GPU of this rank."""
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(at.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    lost_otherwise(
        lambda: td.init_process_group(
            backend, store=PrefixStore("gloo", store), rank=at.rank, world_size=at.world, timeout=TIMEOUT
        )
    )
    try:
        with sharing_memory(_with_hosts(Group("world", at.rank, at.world, ("",) * at.world, store))) as group:
            yield group
    finally:
        with contextlib.suppress(RuntimeError):  # where another rank is gone, there is nothing left to close
            td.destroy_process_group()


def _lent_group() -> Group:
    """The group of a process group that the program itself has opened."""
    store = PrefixStore("divcon", td.distributed_c10d._get_default_store())
    size = td.get_world_size()
    return _with_hosts(Group("world", td.get_rank(), size, ("",) * size, store))


def _with_hosts(group: Group) -> Group:
    """The group, with the host of each rank. Two containers of a machine are two hosts: each has its own files."""
    assert group.store is not None
    store = group.store
    store.set(f"host/{group.rank}", f"{platform.node()} {_mounts()}")
    names = [lost_otherwise(lambda rank=rank: store.get(f"host/{rank}")) for rank in range(group.size)]  # type: ignore[misc]
    return replace(group, hosts=tuple(name.decode() for name in names))


def _mounts() -> str:
    """The name space of this process's file systems."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/mnt")
    return ""
