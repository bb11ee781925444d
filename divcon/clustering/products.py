"""Products of rows with points in low precision, and how far from the truth they may be.

A product of a row a with a point c, both rounded to a~ and c~, is off by at most |a - a~| |c| + |a~| |c - c~|, by the
rounding of d additions in float32, and by its own rounding when it is a bfloat16. None of this is an estimate: what the
rows lost is measured, so whoever looks only at what can be the best within these bounds misses nothing.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ..machine import Precision
from . import kernels

T = TypeVar("T")

BF16_LOSS = np.float32(1.01 * 2**-8)  # a product that is a bfloat16 is off by that share of itself
SPARE = 1.01  # for the rounding of the bounds themselves


@dataclass(frozen=True, eq=False)
class Frame:
    """How rows are written in low precision: from which origin, times which power of two.

    Near their origin numbers are small, and so is what rounding takes from them.
    """

    origin: Float32[np.ndarray, " d"]
    scale: float
    precision: Precision

    @property
    def rounding(self) -> float:
        """The largest share of |a| |c| that additions in float32, in any order, may take from a product: twice what
        the theory says, for what is done before and after them."""
        return (len(self.origin) + 8) * 2.0**-23

    @property
    def loss(self) -> np.float32:
        return BF16_LOSS if self.precision == "bf16" else np.float32(0)

    def lower(self, x: Float32[np.ndarray, "b d"], inverse: Float32[np.ndarray, " b"]) -> "Lowered":
        low = Lowered.empty(len(x), x.shape[1], self.precision)
        self.lower_into(low, x, inverse)
        return low

    def lower_into(self, low: "Lowered", x: Float32[np.ndarray, "b d"], inverse: Float32[np.ndarray, " b"]) -> None:
        origin, scale = self.origin, np.float32(self.scale)
        if self.precision == "bf16":
            bits = low.low.view(torch.int16).numpy().view(np.uint16)
            kernels.lower_to_bf16(x, inverse, origin, scale, bits, low.lengths, low.residues)
        else:
            kernels.lower_to_fp32(x, inverse, origin, scale, low.low.numpy(), low.lengths)


@dataclass(frozen=True, eq=False)
class Lowered:
    """Rows in low precision; how long they were, and how long what each lost is."""

    low: Float[Tensor, "b d"]
    lengths: Float32[np.ndarray, " b"]
    residues: Float32[np.ndarray, " b"]

    @classmethod
    def empty(cls, n: int, d: int, precision: Precision) -> "Lowered":
        # numpy asks for large pages: for a copy of all rows, small ones take longer than what is written to them
        low = torch.from_numpy(np.empty((n, d), np.int16 if precision == "bf16" else np.float32))
        low = low.view(torch.bfloat16) if precision == "bf16" else low
        return cls(low, np.empty(n, np.float32), np.zeros(n, np.float32))

    def __getitem__(self, rows: slice) -> "Lowered":
        return Lowered(self.low[rows], self.lengths[rows], self.residues[rows])

    def slack(self, frame: Frame, points: "Lowered") -> Float32[np.ndarray, " b"]:
        """The most that a row's product with a point can be off, for each unit of the point's length."""
        rho = float((points.residues / np.maximum(points.lengths, np.float32(1e-30))).max())
        off: Float32[np.ndarray, " b"] = self.residues * np.float32(SPARE * (1 + rho))
        return off + self.lengths * np.float32(SPARE * (rho + frame.rounding))

    def times(self, points: "Lowered", frame: Frame) -> kernels.Proposed:
        """The products with all points."""
        out, slack = torch.mm(self.low, points.low.T), self.slack(frame, points)
        if out.dtype == torch.bfloat16:
            return kernels.Proposed(out.view(torch.int16).numpy().view(np.uint16), 16, frame.loss, slack)
        return kernels.Proposed(out.numpy().view(np.uint32), 0, frame.loss, slack)


def each_block(n: int, size: int, job: Callable[[int, int], T]) -> list[T]:
    """job(start, stop) for all blocks of n rows, in order, on as many threads as torch computes with.

    Inside, each thread is all that torch computes with: a block that stays in one core's cache is worth more than one
    that is shared, and torch's own threads would spin where ours want to work. Who is done with a block takes the next:
    to wake another thread for it can take longer than the block.
    """
    threads, starts = torch.get_num_threads(), range(0, n, size)
    found: dict[int, T] = {}
    todo = iter(starts)

    def work() -> None:
        for start in todo:
            found[start] = job(start, min(start + size, n))

    if threads == 1 or len(starts) <= 1:
        work()
    else:
        _together(work, min(threads, len(starts)))
    return [found[start] for start in starts]


def _together(work: Callable[[], None], threads: int) -> None:
    """The same work on several threads at once."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "divcon", torch.set_num_threads, (1,)) as pool:
            tasks = [pool.submit(work) for _ in range(threads)]
        for task in tasks:
            task.result()
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread here: how a sum is shared out among threads decides its last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
