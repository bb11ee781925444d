"""The views of each step's batch: a pure function of the step, made in threads."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray

from ..log import info
from .pixels.pixel_cache import Pixels
from .sampler import Sampler
from .views.render import views_of
from .views.view import View

SLOW = 5.0  # seconds: no batch takes so long, but for compiling


@dataclass(frozen=True)
class Shown:
    """A batch before it meets the model: for each view its pixels, and the images' positions."""

    views: list[UInt8[np.ndarray, "b size size 3"]]
    positions: Int64[np.ndarray, "b"]


class Loader:
    """`ahead` makes the next batch in the background: right beside a GPU, wrong where model and views share cores."""

    def __init__(
        self,
        pixels: Pixels,
        order: Sampler,
        views: tuple[View, ...],
        *,
        seed: int,
        workers: int,
        rank: int = 0,
        world: int = 1,
        ahead: bool = False,
    ):
        self.pixels, self.order, self.views, self.seed, self.workers = pixels, order, views, seed, workers
        self.rank, self.world = rank, world
        self.waited = 0.0  # seconds, views included, that the model waited for its batches
        self._background = ThreadPoolExecutor(1) if ahead else None
        self._next: tuple[int, Future[Shown]] | None = None
        self._instead: NDArray[np.int64] | None = None

    def show(self, instead: NDArray[np.int64] | None) -> None:
        """From now on show these images, each in the place of one of the collection; None: each in its own."""
        if instead is not None or self._instead is not None:
            self._instead, self._next = instead, None  # a batch begun in the background may show the wrong ones

    def batch(self, step: int) -> Shown:
        begin = time.perf_counter()
        shown = self._begun(step) if self._background else self._make(step)
        self.waited += time.perf_counter() - begin
        return shown

    def prepare(self, step: int) -> None:
        """Make a batch before any clock runs: on a new machine its kernels are compiled with it."""
        begin = time.perf_counter()
        self._make(step)
        spent = time.perf_counter() - begin
        if spent > SLOW:
            info(f"views: {spent:.0f} s for the first batch; the kernels that were compiled for it are kept")

    def _begun(self, step: int) -> Shown:
        """The batch that was begun a step ago; and the next one is begun."""
        assert self._background is not None
        if self._next is None or self._next[0] != step:
            self._next = step, self._background.submit(self._make, step)
        shown = self._next[1]
        self._next = step + 1, self._background.submit(self._make, step + 1)
        return shown.result()

    def _make(self, step: int) -> Shown:
        places, epochs = self.order.batch(step, self.rank, self.world)
        positions = places if self._instead is None else self._instead[places]
        pictures, rows = self.pixels.at(positions)
        sights = epochs * self.order.n_images + places  # each showing has numbers of its own
        views = [
            views_of(view, pictures, rows, (self.seed, "view", i), sights, self.workers)
            for i, view in enumerate(self.views)
        ]
        return Shown(views, positions)
