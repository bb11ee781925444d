"""Random numbers as pure functions of their purpose and index: no generator, no state to save."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.integer]


def seed_for(*purpose: int | str) -> int:
    """Return a seed in [0, 2^63) for a purpose, such as `seed_for(seed, "order", epoch)`."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in purpose)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def uniforms(purpose: Sequence[int | str], index: Index, n: int) -> NDArray[np.float64]:
    """Return n uniform numbers in [0, 1) for each index, [len(index), n].

    An index has the same numbers in every batch, thread, rank and resumed run.
    """
    lanes = (
        index.astype(np.uint64)[:, None] * np.uint64(n) + np.arange(n, dtype=np.uint64) + np.uint64(seed_for(*purpose))
    )
    bits = _mix(lanes.astype(np.uint64)) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64 (Steele et al. 2014): each bit of the input changes about half the bits of the output."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
