"""Equal shares of a total, none larger than a part can give; places at equal distances. Torch is not loaded."""

import numpy as np
from jaxtyping import Int64


def equal_shares(sizes: Int64[np.ndarray, " m"], total: int) -> Int64[np.ndarray, " m"]:
    """Return whole numbers that add up to `total`: as equal as they can be, and none larger than its size.

    What can't be divided goes to the largest parts, one each; of equal sizes, to the first.
    """
    assert 0 <= total <= sizes.sum(), f"{total} of {sizes.sum()}"
    rising = np.sort(sizes)
    # if all parts below the i-th are taken whole, this much is left for each of the others
    left = (total - np.concatenate([[0], np.cumsum(rising)[:-1]])) // np.arange(len(sizes), 0, -1)
    level = int(left[np.argmax(left < rising)]) if (left < rising).any() else int(rising[-1])
    shares: Int64[np.ndarray, " m"] = np.minimum(sizes, level)
    more = np.argsort(-sizes, kind="stable")[: total - int(shares.sum())]
    shares[more] += 1
    return shares


def evenly(n: int, most: int) -> Int64[np.ndarray, " m"]:
    """Return at most so many of the numbers below n, evenly spaced, the first and the last among them."""
    return np.linspace(0, max(n - 1, 0), min(n, most)).astype(np.int64)
