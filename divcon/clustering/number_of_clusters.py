"""Evidence for a number of clusters: for each number, how well the clusters are apart and if other seeds find them again."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64

from ..errors import DataError
from ..log import share_of
from .kmeans import KMeans, kmeans
from .shares import evenly
from .validity import adjusted_rand_index, silhouette

CANDIDATES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 40)
SEEDS = 3  # divisions of each number
ROUNDS = 20
SMALLEST = 30  # rows of the sample that a cluster should have on average
SILHOUETTE_ROWS = 1500  # at most, for their distances are all in memory
NEAR = 0.02  # of silhouette: a difference that says nothing
STABLE = 0.6  # adjusted Rand index over seeds, from which a division counts as found again


@dataclass(frozen=True)
class Trial:
    """The evidence for k clusters: the mean silhouette, the mean adjusted Rand index of divisions from different seeds, and
    the rows of the smallest cluster."""

    k: int
    silhouette: float
    stability: float
    smallest: int

    @property
    def is_stable(self) -> bool:
        return self.stability >= STABLE


def try_numbers(x: Float[np.ndarray, "n d"], used: int | None = None, seed: int = 0) -> list[Trial]:
    """Return the evidence for several numbers of clusters of the rows, and for the number that was `used`."""
    numbers = sorted(
        {k for k in CANDIDATES if k * SMALLEST <= len(x)} | ({used} if used and 2 <= used < len(x) else set())
    )
    rows = torch.from_numpy(x.astype(np.float32))
    unit = torch.nn.functional.normalize(rows, dim=1).numpy()
    shown = evenly(len(x), SILHOUETTE_ROWS)
    trials = list[Trial]()
    for i, k in enumerate(numbers):
        with share_of(i, len(numbers)):
            trial = _try(rows, unit, shown, k, seed)
        trials += [] if trial is None else [trial]
    return trials


def suggested(trials: Sequence[Trial]) -> Trial | None:
    """Return the fewest clusters, of the numbers that other seeds find again, whose silhouette is the largest or NEAR it; None
    if no number is found again."""
    stable = [trial for trial in trials if trial.is_stable]
    most = max((trial.silhouette for trial in stable), default=0.0)
    return next((trial for trial in stable if trial.silhouette >= most - NEAR), None)


def _fit(rows: torch.Tensor, k: int, seed: int, number: int) -> KMeans:
    with share_of(number, SEEDS):
        return kmeans(rows, k, seed=seed + number, rounds=ROUNDS, restarts=1)


def _try(
    rows: torch.Tensor, unit: Float[np.ndarray, "n d"], shown: Int64[np.ndarray, " m"], k: int, seed: int
) -> Trial | None:
    """Return the evidence for k clusters; None where there are fewer than k different rows, or those shown are of one cluster."""
    try:
        fits = [_fit(rows, k, seed, i) for i in range(SEEDS)]
    except DataError:
        return None
    labels = [fit.labels.numpy() for fit in fits]
    best = labels[min(range(SEEDS), key=lambda i: fits[i].inertia)]
    pairs = [adjusted_rand_index(a, b) for a, b in itertools.combinations(labels, 2)]
    apart = silhouette(unit[shown], best[shown])
    if np.isnan(apart):
        return None
    return Trial(k, round(apart, 4), round(float(np.mean(pairs)), 4), int(np.bincount(best, minlength=k).min()))
