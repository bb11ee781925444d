"""Work on blocks of rows by several threads, and on one thread."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def each_block(n: int, size: int, job: Callable[[int, int], T]) -> list[T]:
    """Return job(start, stop) for all blocks of `size` rows out of n, in order, computed on as many threads as torch
    uses.

    Inside a job, torch computes on one thread: a block that stays in one core's cache is faster than a shared one, and
    torch's own threads would spin beside these. A thread that has finished a block takes the next one, because waking
    another thread can take longer than a block.
    """
    threads, starts = torch.get_num_threads(), range(0, n, size)
    results: dict[int, T] = {}
    remaining = iter(starts)

    def work() -> None:
        for start in remaining:
            results[start] = job(start, min(start + size, n))

    if threads == 1 or len(starts) <= 1:
        work()
    else:
        _on_threads(work, min(threads, len(starts)))
    return [results[start] for start in starts]


def _on_threads(work: Callable[[], None], threads: int) -> None:
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
    """Let torch compute on one thread inside the block: the last bits of a sum depend on how threads share it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
