"""Compilation of the kernel, once for all processes, and the numbers and types that its files share.

numba keeps the compiled code where it does by itself: in NUMBA_CACHE_DIR, else beside the file of the function, else in
the user's cache folder. It compiles a function again when the function's own file changes, and looks at no other file.
So each function is named after the contents of all files of the kernel: numba finds no code under a new name.

Constants are float32 by hand: a bare 0.5 would turn all numbers that it meets into float64. Every loop over pixels is a
function of its own: LLVM vectorizes it there, but not always inside another loop. Indices into long arrays are
unsigned, so that numba adds no test for negative ones.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

ZERO, HALF, ONE, TWO, THREE, FOUR, SIX = (np.float32(x) for x in (0, 0.5, 1, 2, 3, 4, 6))
BYTE = np.float32(255)
LAST_BYTE = b"."  # of every file that numba writes: they are pickles

Bytes = NDArray[np.uint8]
Shorts = NDArray[np.int16]
Floats = NDArray[np.float32]


def compiled(function: Callable[P, R], *, fastmath: bool | set[str] = False) -> Callable[P, R]:
    """Compile a function that runs without the GIL, and keep the code for later processes where a folder can be written.

    `fastmath` is numba's: the rules of floating point that LLVM may break."""
    function.__qualname__ += "_" + sources_digest(Path(__file__).parent)
    dispatcher: Callable[P, R]
    try:
        dispatcher = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, cache=True)(function)
    except RuntimeError:  # numba found no folder that it can write
        dispatcher = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    stats = getattr(dispatcher, "stats", None)  # NUMBA_DISABLE_JIT returns the plain function, which has none
    if stats and stats.cache_path:
        remove_cut_files(Path(stats.cache_path))
    return dispatcher


@functools.cache
def sources_digest(folder: Path) -> str:
    """Return a short hash of the names and contents of the modules in a folder."""
    texts = [f"{file.name} {file.read_text()}" for file in sorted(folder.glob("*.py"))]
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


@functools.cache
def remove_cut_files(folder: Path) -> None:
    """Remove compiled code that a power cut left empty or short: numba would fail on it in every later process."""
    for file in folder.glob("*.nb[ci]"):
        with contextlib.suppress(OSError):  # another process may have removed it
            if not file.read_bytes().endswith(LAST_BYTE):
                file.unlink()


def subroutine(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function as a part of the compiled functions that call it."""
    dispatcher: Callable[P, R] = numba.njit(nogil=True, error_model="numpy")(function)
    return dispatcher


@subroutine
def clip(x: np.float32) -> np.float32:
    return min(max(x, ZERO), ONE)


@subroutine
def aligned(n: int) -> Floats:
    """Return an array for n numbers that begins at the beginning of a cache line."""
    array = np.empty(n + 16, np.float32)
    skip = (-array.ctypes.data % 64) // 4
    return array[skip : skip + n]
