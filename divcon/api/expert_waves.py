"""The time that stages take which several groups of processes do side by side."""

import heapq
from collections.abc import Sequence


def seconds_on_groups(durations: Sequence[float], groups: int) -> float:
    """Return the seconds until all are done, if each free group takes the longest one that nobody has begun.

    This is how the experts are shared out, largest first. Graham (1969): it takes at most 4/3 - 1/(3 groups) of the shortest
    possible time.
    """
    busy_until = [0.0] * max(1, min(groups, len(durations)))
    for seconds in sorted(durations, reverse=True):
        heapq.heapreplace(busy_until, busy_until[0] + seconds)
    return max(busy_until)
