"""The images of step t: a pure function of the step, so a resume needs no saved state.

Each epoch is a seeded permutation. It is computed element by element (a Feistel network on the position, repeated until
the result lies inside the collection), so it needs no memory for any number of images. A batch may begin in one epoch
and end in the next: no partial batch is dropped.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..rng import seed_for


@dataclass(frozen=True)
class Sampler:
    """The order of the images. `batch_size` counts all ranks; each rank takes an equal, contiguous share of a batch."""

    n_images: int
    batch_size: int
    seed: int = 0

    def epoch(self, step: int) -> int:
        """Return the epoch in which the step begins."""
        return step * self.batch_size // self.n_images

    def begins_epoch(self, step: int) -> bool:
        return step == 0 or self.epoch(step) != self.epoch(step - 1)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions of the images of a step on one rank, and the epoch of each."""
        share = self.batch_size // world
        slots = np.arange(share, dtype=np.int64) + step * self.batch_size + rank * share
        epochs, places = slots // self.n_images, slots % self.n_images
        positions = np.empty_like(slots)
        for epoch in np.unique(epochs):
            of_epoch = epochs == epoch
            positions[of_epoch] = shuffled(places[of_epoch], self.n_images, seed_for(self.seed, "order", int(epoch)))
        return positions, epochs


def shuffled(places: NDArray[np.int64], n: int, key: int) -> NDArray[np.int64]:
    """Return the image of each place under a random permutation of range(n) that depends on the key alone."""
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    rounds = np.random.default_rng(key).integers(1, 2**63, size=(4, 2), dtype=np.uint64) | np.uint64(1)
    x = places.astype(np.uint64)
    outside = np.ones(len(x), dtype=bool)
    while outside.any():
        x[outside] = _feistel(x[outside], half, rounds)
        outside = x >= n
    return x.astype(np.int64)


def _feistel(x: NDArray[np.uint64], half: int, rounds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Permute the numbers below 2^(2 * half)."""
    mask = np.uint64((1 << half) - 1)
    left, right = x >> np.uint64(half), x & mask
    for multiply, add in rounds:
        mixed = (right * multiply + add) * multiply
        left, right = right, left ^ (mixed >> np.uint64(33) & mask)
    return left << np.uint64(half) | right
