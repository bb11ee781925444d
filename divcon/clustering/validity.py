"""Cluster validity: how well clusters are apart, and how well two divisions agree."""

import numpy as np
from jaxtyping import Float, Int64


def silhouette(x: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"]) -> float:
    """Return the mean silhouette of rows of length one by cosine distance, in -1..1 (Rousseeuw 1987).

    The silhouette of a row is (b - a) / max(a, b): a is its mean distance from its own cluster, b that from the nearest other
    one. A row alone in its cluster counts 0. Memory holds n x n distances. NaN for a single cluster.
    """
    _, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return float("nan")
    rows = np.arange(len(x))
    members = (labels[:, None] == np.arange(len(sizes))).astype(np.float64)
    sums = (1 - x.astype(np.float64) @ x.astype(np.float64).T) @ members
    own = sums[rows, labels] / np.maximum(sizes[labels] - 1, 1)
    means = sums / sizes
    means[rows, labels] = np.inf
    other = means.min(1)
    scores = (other - own) / np.maximum(np.maximum(own, other), 1e-12)
    return float(np.where(sizes[labels] > 1, scores, 0.0).mean())


def adjusted_rand_index(a: Int64[np.ndarray, " n"], b: Int64[np.ndarray, " n"]) -> float:
    """Return the adjusted Rand index of two divisions of the same rows (Hubert and Arabie 1985): 1 for equal ones, about 0 for
    unrelated ones."""
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1), np.int64)
    np.add.at(table, (a, b), 1)
    both, of_a, of_b, of_all = (_pairs(counts) for counts in (table, table.sum(1), table.sum(0), np.array(len(a))))
    expected = of_a * of_b / max(of_all, 1.0)
    highest = (of_a + of_b) / 2
    return 1.0 if highest == expected else (both - expected) / (highest - expected)


def _pairs(counts: Int64[np.ndarray, "..."]) -> float:
    return float((counts.astype(np.float64) * (counts - 1) / 2).sum())
