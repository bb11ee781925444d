"""Work on a long series that is read once: little of it is in memory at a time, and threads do what would be waited for."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; the last one may be shorter."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def map_ahead(do: Callable[[T], U], items: Iterable[T], threads: int, seconds: float) -> Iterator[U]:
    """Yield the result for each item, in order.

    As soon as one item takes longer than `seconds`, the following ones are done by threads, a little ahead. Short calls
    are not worth a thread: to hand them over takes as long.
    """
    left = iter(items)
    for item in left:
        begin = time.perf_counter()
        result = do(item)
        taken = time.perf_counter() - begin
        yield result
        if taken > seconds:
            yield from _in_threads(do, left, threads)


def _in_threads(do: Callable[[T], U], items: Iterator[T], threads: int) -> Iterator[U]:
    waiting = deque[Future[U]]()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(do, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
