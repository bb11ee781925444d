"""Keep freed memory in the process while a network trains (settings of the GNU C library's malloc).

A training step frees and allocates the same tensors again and again. By default the C library gives large blocks back to the
system at once, and the system clears tens of thousands of pages for the next step. Without that a step takes 3 to 9 % less time
(docs/performance.md; `python -m benchmarks.bench_allocator`).
"""

import contextlib
import ctypes
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # mallopt's parameters, from malloc.h
KEEP_SETTINGS = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**30}
# Any call of mallopt ends the library's automatic tuning; these are the values which that reaches by itself in a process that
# frees large blocks.
DEFAULT_SETTINGS = {MMAP_MAX: 65536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}

depth = 0  # of nested keeping_memory blocks


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """Keep up to 1 GB of freed memory in the process while the block runs; do nothing without the GNU C library."""
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
    """Return freed memory to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _tune(settings: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for parameter, value in settings.items():
        if mallopt is not None:
            mallopt(parameter, value)
