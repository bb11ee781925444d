"""The views of the batch of each step: a pure function of the step, made in threads."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from ..log import info
from .pixels.pixels import Pixels
from .sampler import Sampler
from .views.render import views_of
from .views.view import View

SLOW = 5.0  # seconds: a batch takes longer only if its kernel is compiled


@dataclass(frozen=True)
class ViewBatch:
    """A batch on the CPU: the pixels of each view, and the positions of the images."""

    views: list[UInt8[np.ndarray, "b size size 3"]]
    positions: Int64[np.ndarray, "b"]


class Loader:
    """Makes the view batches of a training.

    `ahead` makes the next batch in the background: good with a GPU, bad where the model and the views share cores. `pinned`
    puts batches into memory from which a GPU copies while the CPU goes on."""

    def __init__(
        self,
        pixels: Pixels,
        sampler: Sampler,
        views: tuple[View, ...],
        *,
        seed: int,
        workers: int,
        rank: int = 0,
        world: int = 1,
        ahead: bool = False,
        pinned: bool = False,
    ):
        self.pixels, self.sampler, self.views, self.seed, self.workers = pixels, sampler, views, seed, workers
        self.rank, self.world, self.pinned = rank, world, pinned
        self.waited = 0.0  # seconds that the model waited for its batches; making the views counts
        self._background = ThreadPoolExecutor(1) if ahead else None
        self._next: tuple[int, Future[ViewBatch]] | None = None
        self._indices: NDArray[np.int64] | None = None

    def resample(self, indices: NDArray[np.int64] | None) -> None:
        """Use image `indices[i]` in the place of image i from now on; None uses each image in its own place."""
        if indices is not None or self._indices is not None:
            self._indices, self._next = indices, None  # a batch begun in the background may have the wrong images

    def batch(self, step: int) -> ViewBatch:
        begin = time.perf_counter()
        batch = self._make_ahead(step) if self._background else self._make(step)
        self.waited += time.perf_counter() - begin
        return batch

    def warm_up(self, step: int) -> None:
        """Make a batch before the time is measured: on a new machine the kernel is compiled for it."""
        begin = time.perf_counter()
        self._make(step)
        spent = time.perf_counter() - begin
        if spent > SLOW:
            info(f"views: {spent:.0f} s for the first batch: its kernel was compiled, and later runs use it again")

    def _make_ahead(self, step: int) -> ViewBatch:
        """Return the batch that was begun a step ago, and begin the next one."""
        assert self._background is not None
        if self._next is None or self._next[0] != step:
            self._next = step, self._background.submit(self._make, step)
        batch = self._next[1]
        self._next = step + 1, self._background.submit(self._make, step + 1)
        return batch.result()

    def _make(self, step: int) -> ViewBatch:
        places, epochs = self.sampler.batch(step, self.rank, self.world)
        positions = places if self._indices is None else self._indices[places]
        packed, rows = self.pixels.read(positions)
        samples = epochs * self.sampler.n_images + places  # random numbers differ from epoch to epoch
        views = [
            views_of(view, packed, rows, (self.seed, "view", i), samples, self.workers)
            for i, view in enumerate(self.views)
        ]
        batch = ViewBatch(views, positions)
        return pinned(batch) if self.pinned else batch


def pinned(batch: ViewBatch) -> ViewBatch:
    """Return the batch in pinned memory. torch uses a block again only when no copy from it is on its way."""
    from torch import from_numpy  # here, so that the module does not need torch

    views = [from_numpy(view).pin_memory().numpy() for view in batch.views]
    return ViewBatch(views, from_numpy(batch.positions).pin_memory().numpy())
