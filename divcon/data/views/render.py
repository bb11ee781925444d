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

FEWEST = 16  # views that are worth a thread's while


def render(
    pictures: PackedImages, rows: NDArray[np.int64], draws: Draws, size: int, workers: int = 1
) -> UInt8[np.ndarray, "batch size size 3"]:
    """The pixels of the views of these rows of `pictures`: the same bits on any number of threads."""
    out = np.empty((len(rows), size, size, 3), np.uint8)
    share = max(FEWEST, math.ceil(len(rows) / workers))
    parts = [slice(at, at + share) for at in range(0, len(rows), share)]
    fill = functools.partial(_fill, pictures, rows, draws, out)
    if len(parts) > 1:
        list(_pool(workers).map(fill, parts))
    elif parts:
        fill(parts[0])
    return out


def _fill(
    pictures: PackedImages,
    rows: NDArray[np.int64],
    draws: Draws,
    out: UInt8[np.ndarray, "batch size size 3"],
    part: slice,
) -> None:
    from .kernel import render_chunk

    row, d, size = rows[part], draws[part], out.shape[1]
    flat = np.asarray(pictures.flat).view()
    flat.flags.writeable = False  # one type for arrays and maps of a file, so one compilation
    at = pictures.starts[row], pictures.heights[row], pictures.widths[row]
    drawn = d.box, d.flip, d.jitter, d.order, d.factors, d.gray, d.sigma, d.solarize
    render_chunk(flat, *at, *drawn, d.style == "byol", _taps(size), out[part])


def _taps(size: int) -> int:
    """The blur's width: 23 pixels of 224, to the nearest odd number, and never under 3."""
    return max(3, 2 * round((23 * size / 224 - 1) / 2) + 1)


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="views")


def views_of(
    view: View,
    pictures: PackedImages,
    rows: NDArray[np.int64],
    purpose: Sequence[int | str],
    index: Index,
    workers: int = 1,
) -> UInt8[np.ndarray, "batch size size 3"]:
    """One view of each of these rows of `pictures`; `index` names the images to chance, wherever their rows are."""
    draws = draw(view, purpose, index, pictures.heights[rows], pictures.widths[rows])
    return render(pictures, rows, draws, view.size, workers)


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads don't come along into a forked process
