"""Messages between ranks of one host, through memory that they share: about 10 microseconds each; gloo needs some 600.

A rank writes its part into its own slot, sends one byte to each other rank, and waits for a byte of each. The kernel orders the
writes before the bytes. There are two sides, used in turns: who writes a side again has heard that all have read it.
"""

import mmap
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import LostError
from .lost import AGAIN
from .timeout import TIMEOUT

SLOT = 2**20  # bytes that a rank can say at once: they stay in a core's cache


@dataclass
class SharedMemory:
    """Slots of all ranks of a group on one host, in two sides, and a socket to each other rank (None at one's own place)."""

    rank: int
    memory: mmap.mmap
    sockets: Sequence[socket.socket | None]

    def __post_init__(self) -> None:
        self.side = 0
        for peer in self._peers():
            peer.settimeout(TIMEOUT.total_seconds())
        self.slots = torch.frombuffer(self.memory, dtype=torch.uint8).view(2, len(self.sockets), SLOT)

    def reduce(self, x: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Replace a contiguous tensor by its combination over ranks, in the order of ranks, so that each has the same bits."""
        for chunk in _chunks(x):
            first, *others = self._exchange(chunk)
            total = first
            for other in others:
                total = combine(total, other)
            chunk.copy_(total)

    def gather(self, x: Tensor) -> list[Tensor]:
        """Return the contiguous tensor of each rank; all have one shape."""
        parts = [torch.empty_like(x) for _ in self.sockets]
        for chunk, *copies in zip(_chunks(x), *(_chunks(part) for part in parts)):
            for copy, said in zip(copies, self._exchange(chunk)):
                copy.copy_(said)
        return parts

    def close(self) -> None:
        """Close the sockets; the memory is freed with its last tensor."""
        for peer in self._peers():
            peer.close()

    def _exchange(self, mine: Tensor) -> list[Tensor]:
        """Say at most SLOT bytes, and return what each rank has said: it holds until the call after the next one."""
        slots = [slot[: mine.nbytes].view(mine.dtype) for slot in self.slots[self.side]]
        slots[self.rank].copy_(mine)
        self._meet()
        self.side = 1 - self.side
        return slots

    def _meet(self) -> None:
        """Wait until each rank has come here. LostError, if one is gone."""
        try:
            for peer in self._peers():
                peer.send(b"\0")
            for peer in self._peers():
                if not peer.recv(1):
                    raise ConnectionResetError("its connection is closed")
        except OSError as error:
            raise LostError(f"another rank is gone ({error}); {AGAIN}") from error

    def _peers(self) -> Iterator[socket.socket]:
        return (peer for peer in self.sockets if peer)


def bytes_for(ranks: int) -> int:
    """The size of the memory that so many ranks share."""
    return 2 * ranks * SLOT


def _chunks(x: Tensor) -> Sequence[Tensor]:
    """Parts of a tensor that fit into a slot, as flat views."""
    return torch.split(x.view(-1), SLOT // x.element_size())
