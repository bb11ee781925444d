"""What the C library does with memory that is freed: keep it, or give it back and ask the system for it again.

A training step frees and asks for the same tensors over and over, and a tensor of some size is given back at once: the
system then hands out, and clears, tens of thousands of pages a step (docs/performance.md).
"""

import contextlib
import ctypes
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # mallopt's numbers, from malloc.h of the GNU C library
KEEP_SETTINGS = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**30}
# Where the library's own tuning ends up in a process that frees large blocks: any setting puts an end to that tuning.
DEFAULT_SETTINGS = {MMAP_MAX: 65536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}

depth = 0  # of blocks that want memory kept, one inside the other


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """Keep up to a GB of what is freed while the block runs. Nothing where there is no GNU C library."""
    global depth
    _tune(KEEP_SETTINGS)
    depth += 1
    try:
        yield
    finally:
        depth -= 1
        if depth == 0:
            _tune(DEFAULT_SETTINGS)
            _give_back()


def _give_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _tune(settings: dict[int, int]) -> None:
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, value in settings.items():
        if tune is not None:
            tune(name, value)
