"""The share of each rank in a table of rows. All ranks are given the same table; each works on its own rows, and then each
knows the results of all."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from .. import dist
from ..signals import stop, stop_requested

BLOCK = 1024  # rows: a share is made of whole blocks, so their places do not depend on the number of ranks


@dataclass(frozen=True)
class Shares:
    """The shares of `ranks` ranks in n rows: runs of whole blocks, in the order of ranks. Some are empty where there are more
    ranks than blocks."""

    n: int
    ranks: int

    @classmethod
    def of(cls, n: int, shared: bool) -> "Shares":
        """Return the shares of all ranks; if not `shared`, each rank has all rows."""
        return cls(n, dist.world_size() if shared else 1)

    @property
    def sizes(self) -> list[int]:
        blocks = -(-self.n // BLOCK)
        bounds = [min(self.n, BLOCK * (blocks * rank // self.ranks)) for rank in range(self.ranks + 1)]
        return [stop - start for start, stop in itertools.pairwise(bounds)]

    @property
    def own(self) -> slice:
        """The rows of this rank."""
        number, sizes = dist.rank() if self.ranks > 1 else 0, self.sizes
        start = sum(sizes[:number])
        return slice(start, start + sizes[number])

    def gather(self, own: Shaped[Tensor, "b *s"], sizes: Sequence[int] | None = None) -> Shaped[Tensor, "n *s"]:
        """Return the values of all ranks in their order, given those of this rank: by default one for each of its rows, else
        as many for each rank as `sizes` say."""
        return own if self.ranks == 1 else dist.gather_rows(own, self.sizes if sizes is None else sizes)

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum of integers over the ranks, element by element. Integers are added exactly, in any order."""
        assert not own.is_floating_point()
        return own if self.ranks == 1 else dist.all_sum(own)

    def max(self, own: Tensor) -> Tensor:
        """Replace numbers by their maximum over the ranks, element by element, and return them."""
        return own if self.ranks == 1 else dist.all_max(own)


def first_of_ranks(flags: Tensor, shares: Shares) -> tuple[int, int]:
    """Return the first row whose flag is set, and the number of such rows, given the flags of this rank's rows. The first is
    -1 if there is none."""
    found = flags.nonzero().flatten()
    first = int(found[0]) + shares.own.start if len(found) else shares.n
    least = -int(shares.max(torch.tensor(-first)))
    count = int(shares.sum(torch.tensor(len(found))))
    return (least if count else -1), count


def stop_together(shares: Shares, saved: str) -> None:
    """Stop on every rank if a stop signal came to one: else the others would wait for it."""
    if int(shares.max(torch.tensor(int(stop_requested())))):
        stop(saved)
