"""Compilation of the kernels, and the types and constants that their files share.

numba keeps compiled code, and compares only the file of the function itself. So each function is named after the
contents of all files in this folder: after a change in any of them, numba finds no code under the new name.
"""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...data.views.kernel import compiling

P = ParamSpec("P")
R = TypeVar("R")

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Lanes = Floats | Doubles
Bits = NDArray[np.unsignedinteger]
Integers = NDArray[np.int64]

FAST_MATH = {"reassoc", "contract", "nsz", "nnan"}
LANES = 32  # partial sums side by side, so that no addition waits for the one before it
ZERO = np.float32(0)
SIGN_SHIFT, MAGNITUDE = np.int32(31), np.int32(0x7FFFFFFF)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that keeps the order of its additions."""
    return compiling.compiled(_named_after_sources(function))


def fast_math(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that may add in any order. Values that are not a number are not allowed in it."""
    return compiling.compiled(_named_after_sources(function), fastmath=FAST_MATH)


def _named_after_sources(function: Callable[P, R]) -> Callable[P, R]:
    function.__qualname__ += "_" + compiling.sources_digest(Path(__file__).parent)
    return function
