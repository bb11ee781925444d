"""Coordinates of images in a plane: images that an encoder finds alike lie near one another."""

import math
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from numpy.typing import NDArray

from ..clustering.kernels.compiling import Doubles, Integers, compiled
from ..clustering.neighbors import nearest

NEIGHBORS = 15  # of an image, that UMAP keeps near it
FEWEST = 200  # images: PCA draws fewer as well, and at once
WIDTH = 10.0  # of the coordinates that UMAP begins with
FILLED = 0.5  # of the rectangle around the images: the part that they take when they are spread
STEPS = 300  # of spreading
SPEED = 0.6  # part of its push that a point goes in a step
JITTER = 1e-5
SEED = 0


@dataclass(frozen=True, eq=False)
class Layout:
    """The coordinates of m images, from 0 to 1; the method that found them, and why it was not UMAP.

    `spacing` is the usual distance of an image from the nearest other one.
    """

    method: Literal["UMAP", "PCA"]
    xy: Float32[np.ndarray, "m 2"]
    spacing: float
    why: str = ""


def lay_out(whitened: Float[np.ndarray, "m c"], features: Float[np.ndarray, "m d"]) -> Layout:
    """Return the coordinates of m images by UMAP; by PCA where umap-learn is not installed, or for less than FEWEST images.

    UMAP compares whitened features, and begins with the principal components of the features. It runs in one thread with
    a fixed seed. Images that lie on one another are pushed apart at the end.
    """
    start = principal_components(features)
    if len(features) < FEWEST:
        return _layout("PCA", start, f"UMAP needs {FEWEST} images")
    if find_spec("umap") is None:
        return _layout("PCA", start, "pip install 'divcon[report]' brings UMAP")
    return _layout("UMAP", principal_components(_umap(whitened, start)))


def _layout(method: Literal["UMAP", "PCA"], xy: Float[np.ndarray, "m 2"], why: str = "") -> Layout:
    spaced = spread(scaled(xy))
    return Layout(method, spaced, float(np.median(nearest_distances(spaced))), why)


def _umap(whitened: Float[np.ndarray, "m c"], start: Float[np.ndarray, "m 2"]) -> Float32[np.ndarray, "m 2"]:
    """Return the coordinates of UMAP (McInnes et al. 2018, https://arxiv.org/abs/1802.03426)."""
    from umap import UMAP  # here: the import takes ten seconds

    rows = torch.from_numpy(whitened)
    cosines, numbers = nearest(rows, rows, NEIGHBORS)
    graph = numbers.numpy(), (1 - cosines).clamp(min=0).numpy()
    begin = (WIDTH * scaled(start)).round(3)  # rounded: the order of a sum in the products before changes no layout
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that images can not be added to a layout later
        umap = UMAP(NEIGHBORS, metric="cosine", init=begin, random_state=SEED, n_jobs=1, precomputed_knn=graph)
        return np.asarray(umap.fit_transform(whitened), np.float32)


def principal_components(x: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m 2"]:
    """Return the first two principal components of the rows; the largest weight of each component is positive."""
    centered = torch.from_numpy(np.asarray(x, np.float64))
    centered = centered - centered.mean(0)
    directions = torch.linalg.eigh(centered.T @ centered).eigenvectors.flip(1)[:, :2]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    found = centered @ (directions * largest.sign())
    padded: NDArray[np.float64] = torch.nn.functional.pad(found, (0, 2 - found.shape[1])).numpy()
    return padded


def scaled(xy: Float[np.ndarray, "m 2"]) -> Float32[np.ndarray, "m 2"]:
    """Return the coordinates, shifted and scaled by one factor so that the longer side is from 0 to 1; the shorter side is
    centered."""
    low, high = xy.min(0), xy.max(0)
    side = float((high - low).max()) or 1.0
    return np.asarray((xy - (low + high) / 2) / side + 0.5, np.float32)


def spread(xy: Float32[np.ndarray, "m 2"]) -> Float32[np.ndarray, "m 2"]:
    """Push points apart that are near one another, until about FILLED of the rectangle around them is filled.

    A group of images that are alike would be a dot. The area of a group is now proportional to its number of images, and
    thumbnails have room side by side.
    """
    spaced = xy + JITTER * _sunflower(len(xy))  # equal points have no direction to be pushed in
    distance = float(np.sqrt(FILLED * np.prod(np.ptp(spaced, axis=0)) / len(xy)))
    for _ in range(STEPS):
        moves = np.zeros_like(spaced)
        sum_pushes(spaced, np.argsort(spaced[:, 0], kind="stable"), distance, moves)
        length = np.hypot(moves[:, 0], moves[:, 1])
        spaced += SPEED * moves * (distance / np.maximum(length, distance or 1.0))[:, None]
    return scaled(spaced)


@compiled
def sum_pushes(xy: Doubles, order: Integers, distance: float, moves: Doubles) -> None:
    """Add to the moves [m, 2] of points what brings each two of them, alone, to `distance` from each other; `order` is that
    of the points along x."""
    for a in range(len(order)):
        for b in range(a + 1, len(order)):
            i, j = order[a], order[b]
            dx, dy = xy[j, 0] - xy[i, 0], xy[j, 1] - xy[i, 1]
            if dx >= distance:
                break
            apart = max(math.sqrt(dx * dx + dy * dy), 1e-9)
            if apart < distance:
                push = (distance / apart - 1) / 2
                moves[i, 0] -= push * dx
                moves[i, 1] -= push * dy
                moves[j, 0] += push * dx
                moves[j, 1] += push * dy


def nearest_distances(xy: Float32[np.ndarray, "m 2"]) -> Float32[np.ndarray, " m"]:
    """Return the distance of each point from the nearest other one; 1 for a single point."""
    points = torch.from_numpy(xy)
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(1.0)
    nearest_ones: NDArray[np.float32] = distances.amin(1).numpy()
    return nearest_ones


def _sunflower(m: int) -> Float64[np.ndarray, "m 2"]:
    """Return m points of which no two are equal, at most 1 from the middle."""
    turn, radius = math.pi * (3 - math.sqrt(5)) * np.arange(m), np.sqrt(np.arange(m) / m)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
