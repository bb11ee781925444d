"""The pixels of views."""

import functools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from ...rng import Index
from ..pixels.packed import PackedImages
from .draw import Draws, draw
from .view import View

FEWEST = 16  # views a thread: fewer take less time than to start it


def render(
    packed: PackedImages, rows: NDArray[np.int64], draws: Draws, size: int, workers: int = 1
) -> UInt8[np.ndarray, "batch size size 3"]:
    """Return the views of images `rows` of `packed`: the same bits on any number of threads."""
    out = np.empty((len(rows), size, size, 3), np.uint8)
    share = max(FEWEST, math.ceil(len(rows) / workers))
    parts = [slice(start, start + share) for start in range(0, len(rows), share)]
    fill = functools.partial(_fill, packed, rows, draws, out)
    if len(parts) > 1:
        list(_pool(workers).map(fill, parts))
    elif parts:
        fill(parts[0])
    return out


def _fill(
    packed: PackedImages,
    rows: NDArray[np.int64],
    draws: Draws,
    out: UInt8[np.ndarray, "batch size size 3"],
    part: slice,
) -> None:
    from .kernel import render_chunk

    row, d, size = rows[part], draws[part], out.shape[1]
    flat = np.asarray(packed.flat).view()
    flat.flags.writeable = False  # arrays and mapped files then have one type: one compilation
    images = packed.starts[row], packed.heights[row], packed.widths[row]
    drawn = d.box, d.flip, d.jitter, d.order, d.factors, d.gray, d.sigma, d.solarize
    render_chunk(flat, *images, *drawn, d.style == "byol", _taps(size), out[part])


def _taps(size: int) -> int:
    """Return the width of the blur: 23 pixels of 224, to the nearest odd number, and at least 3."""
    return max(3, 2 * round((23 * size / 224 - 1) / 2) + 1)


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="views")


def views_of(
    view: View,
    packed: PackedImages,
    rows: NDArray[np.int64],
    purpose: Sequence[int | str],
    index: Index,
    workers: int = 1,
) -> UInt8[np.ndarray, "batch size size 3"]:
    """Draw and render one view of each of the images `rows` of `packed`.

    The random numbers depend on `purpose` and `index` alone, not on the rows. `workers` is the number of threads."""
    draws = draw(view, purpose, index, packed.heights[rows], packed.widths[rows])
    return render(packed, rows, draws, view.size, workers)


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has no threads
