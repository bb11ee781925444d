"""The split of labeled images into training and test images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from ..data.labeled.layout_errors import enumerated_names
from ..data.labeled.scored import Scored
from ..errors import TooFewError
from ..rng import uniforms


def train_test_split(
    data: Scored, seed: int
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"], list[int]]:
    """Return the positions of the training and of the test images, and the classes that are left out.

    The split is the folder's own, or else 70/30 by the seed, stratified where an image has one class. Raises DataError if fewer
    than two classes can be learned, or no image is left to test on.
    """
    if data.truth == "sets":
        return *_split_of_sets(data, seed), []
    if data.train is not None and data.test is not None:
        train, test, dropped = data.train, data.test, list[int]()
    else:
        train, test, dropped = stratified(data.labels, 0.7, seed)
    if data.truth != "classes":
        return train, test, dropped
    if len(np.unique(data.labels[train])) < 2 or not len(test):
        raise TooFewError(
            f"there are {len(train):,} images to train on and {len(test):,} to test on: at least two classes with two images each "
            f"are needed{_folders(data)}"
        )
    return train, test, dropped


def _split_of_sets(data: Scored, seed: int) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"]]:
    if data.train is not None and data.test is not None:
        train, test = data.train, data.test
    else:
        n = len(data.images)
        order = np.argsort(uniforms(("split", seed), np.arange(n), 1)[:, 0], kind="stable")
        train, test = np.sort(order[: round(0.7 * n)]), np.sort(order[round(0.7 * n) :])
    if not (data.labels[train] == 1).any() or not (data.labels[test] == 1).any():
        raise TooFewError(
            f"there are {len(train):,} images to train on and {len(test):,} to test on, and no class is in both: give more images"
        )
    return train, test


def _folders(data: Scored) -> str:
    layout = data.layout
    return (
        f" (below {enumerated_names(layout.train)} and below {enumerated_names(layout.test)})" if layout.train else ""
    )


def stratified(
    labels: NDArray[np.integer], fraction: float = 0.7, seed: int = 0
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"], list[int]]:
    """Return rising positions to train on and to test on, and the classes left out because they have only one image.

    Each class gives `fraction` of its images, rounded, to the training part, and at least one image to either part.
    """
    classes, class_index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    position = place_in_class(class_index, ("split", seed))
    train_size = np.clip(np.floor(fraction * sizes + 0.5), 1, sizes - 1)[class_index]
    is_used = (sizes > 1)[class_index]
    train, test = np.flatnonzero(is_used & (position < train_size)), np.flatnonzero(is_used & (position >= train_size))
    return train, test, [int(label) for label in classes[sizes == 1]]


def place_in_class(class_index: NDArray[np.integer], purpose: Sequence[int | str]) -> NDArray[np.int64]:
    """Return the place of each image among the images of its class, after every class is shuffled. The purpose and the
    position of an image decide; classes are numbers from 0."""
    images, sizes = np.arange(len(class_index)), np.bincount(class_index)
    order = np.lexsort((uniforms(purpose, images, 1)[:, 0], class_index))
    place = np.empty(len(class_index), np.int64)
    place[order] = images - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return place
