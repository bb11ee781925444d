"""A train / test split where none was given."""

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from ..data.labeled.labeled import Labeled
from ..data.labeled.layout_errors import enumerated_names
from ..errors import DataError
from ..rng import uniforms


def split(data: Labeled, seed: int) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"], list[int]]:
    """Positions to train and to test on, and the classes left out: the folder's own split, or a stratified 70/30."""
    if data.train is not None and data.test is not None:
        train, test, dropped = data.train, data.test, list[int]()
    else:
        train, test, dropped = stratified(data.labels, 0.7, seed)
    if len(np.unique(data.labels[train])) < 2 or not len(test):
        raise DataError(
            f"there are {len(train):,} images to train on and {len(test):,} to test on: at least two classes with two images each "
            f"are needed{_where(data)}"
        )
    return train, test, dropped


def _where(data: Labeled) -> str:
    layout = data.layout
    return (
        f" (below {enumerated_names(layout.train)} and below {enumerated_names(layout.test)})" if layout.train else ""
    )


def stratified(
    labels: NDArray[np.integer], fraction: float = 0.7, seed: int = 0
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"], list[int]]:
    """Rising positions to train on and to test on, and the classes left out because they have only one image.

    Each class gives `fraction` of its images to train on, rounded, and at least one image to either side.
    """
    classes, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rank = _rank_in_class(which, sizes, seed)
    wanted = np.clip(np.floor(fraction * sizes + 0.5), 1, sizes - 1)[which]
    kept = (sizes > 1)[which]
    train, test = np.flatnonzero(kept & (rank < wanted)), np.flatnonzero(kept & (rank >= wanted))
    return train, test, [int(one) for one in classes[sizes == 1]]


def _rank_in_class(which: NDArray[np.integer], sizes: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """Each image's place in its class, when every class is shuffled."""
    positions = np.arange(len(which))
    order = np.lexsort((uniforms(("split", seed), positions, 1)[:, 0], which))
    rank = np.empty(len(which), np.int64)
    rank[order] = positions - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank
