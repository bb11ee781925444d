"""Work on a long series that is read once: little of it is in memory at a time, and threads do what would be waited for."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

SLOW_IN_A_ROW = 3

T = TypeVar("T")
U = TypeVar("U")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`; the last one may be shorter."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def map_ahead(do: Callable[[T], U], items: Iterable[T], threads: int, seconds: float) -> Iterator[U]:
    """Yield the result for each item, in order.

    As soon as a few items in a row take longer than `seconds`, the following ones are done by threads, a little ahead.
    Short calls are not worth a thread: to hand them over takes as long. One alone may be slow because the machine is busy.
    """
    left, slow = iter(items), 0
    for item in left:
        begin = time.perf_counter()
        result = do(item)
        slow = slow + 1 if time.perf_counter() - begin > seconds else 0
        yield result
        if slow == SLOW_IN_A_ROW:
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
