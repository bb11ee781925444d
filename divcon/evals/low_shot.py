"""Parts of labeled training images: a few of each class, or a share."""

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from .split import place_in_class


def few_of_each(labels: Int64[np.ndarray, " n"], k: int, seed: int, draw: int = 0) -> NDArray[np.int64]:
    """Return the rising positions of k images of each class, or of all images of a class that has fewer. The seed and the
    draw decide which; a draw of more images has those of a draw of fewer."""
    return np.flatnonzero(place_in_class(labels, ("low-shot", seed, draw)) < k)


def share_of_each(labels: Int64[np.ndarray, " n"], share: float, seed: int) -> NDArray[np.int64]:
    """Return the rising positions of a share of the images of each class, rounded, and at least one."""
    sizes = np.bincount(labels)
    wanted = np.maximum(1, np.floor(share * sizes + 0.5))
    return np.flatnonzero(place_in_class(labels, ("low-shot", seed)) < wanted[labels])
