"""Which images make up step t: a pure function, so nothing has to be saved to resume.

Each pass is a seeded permutation, computed element by element (a Feistel network on the position, walked until it
lands inside the collection), so it needs no memory however many images there are. Order runs on from one pass into
the next: no partial batch is dropped.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..rng import seed_for


@dataclass(frozen=True)
class Sampler:
    """`batch_size` is that of all ranks together; each rank takes an equal, contiguous share of a batch."""

    n_images: int
    batch_size: int
    seed: int = 0

    def epoch(self, step: int) -> int:
        """The pass that the step begins in."""
        return step * self.batch_size // self.n_images

    def begins_epoch(self, step: int) -> bool:
        return step == 0 or self.epoch(step) != self.epoch(step - 1)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The positions of the images of the step that fall to the rank, and each one's pass."""
        share = self.batch_size // world
        slots = np.arange(share, dtype=np.int64) + step * self.batch_size + rank * share
        epochs, places = slots // self.n_images, slots % self.n_images
        positions = np.empty_like(slots)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            positions[now] = shuffled(places[now], self.n_images, seed_for(self.seed, "order", int(epoch)))
        return positions, epochs


def shuffled(places: NDArray[np.int64], n: int, key: int) -> NDArray[np.int64]:
    """Where a random permutation of range(n) sends each place; the permutation depends on the key only."""
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    rounds = np.random.default_rng(key).integers(1, 2**63, size=(4, 2), dtype=np.uint64) | np.uint64(1)
    x = places.astype(np.uint64)
    outside = np.ones(len(x), dtype=bool)
    while outside.any():
        x[outside] = _feistel(x[outside], half, rounds)
        outside = x >= n
    return x.astype(np.int64)


def _feistel(x: NDArray[np.uint64], half: int, rounds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of the numbers below 2^(2 * half)."""
    mask = np.uint64((1 << half) - 1)
    left, right = x >> np.uint64(half), x & mask
    for multiply, add in rounds:
        mixed = (right * multiply + add) * multiply
        left, right = right, left ^ (mixed >> np.uint64(33) & mask)
    return left << np.uint64(half) | right
