"""What the C library does with memory that is freed: keep it, or give it back and ask the system for it again.

A training step frees and asks for the same tensors over and over, and a tensor of some size is given back at once: the
system then hands out, and clears, tens of thousands of pages a step (docs/performance.md).
"""

import contextlib
import ctypes
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # mallopt's numbers, from malloc.h of the GNU C library
KEPT = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**30}
USUAL = {MMAP_MAX: 65536, TRIM_THRESHOLD: 128 * 1024}


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """Keep up to a GB of what is freed while the block runs. Nothing where there is no GNU C library."""
    _tune(KEPT)
    try:
        yield
    finally:
        _tune(USUAL)


def _tune(settings: dict[int, int]) -> None:
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, value in settings.items():
        if tune is not None:
            tune(name, value)
