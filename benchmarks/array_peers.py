"""The work of faiss-cpu and scikit-learn on arrays, for `elsewhere.Peer`. Nothing here imports torch: peers run alone.

Each reads what it needs from a folder, and returns its timed work and what writes the outcome to that folder.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .elsewhere import Sides
from .machines import cores


def faiss_kmeans(folder: str, k: str, rounds: str) -> Sides:
    """Spherical, on all rows and not the sample that is its default."""
    import faiss

    x, count = np.load(Path(folder) / "x.npy"), int(k)
    faiss.omp_set_num_threads(cores())
    found: list[NDArray[np.float32]] = []

    def work() -> None:
        fit = faiss.Kmeans(x.shape[1], count, niter=int(rounds), spherical=True, max_points_per_centroid=10**9)
        fit.train(x, init_centroids=x[:count])
        found[:] = [fit.centroids]

    return work, lambda: np.save(Path(folder) / "centroids.npy", found[0])


def scikit_learn_kmeans(folder: str, k: str, rounds: str) -> Sides:
    from sklearn.cluster import KMeans

    x = np.load(Path(folder) / "x.npy")
    fit = KMeans(int(k), init=x[: int(k)], n_init=1, max_iter=int(rounds), tol=0, algorithm="lloyd")
    return lambda: fit.fit(x), lambda: np.save(Path(folder) / "centroids.npy", fit.cluster_centers_)


def faiss_flat(folder: str, k: str) -> Sides:
    """The index is made anew each time, of rows that are made one long."""
    import faiss

    bank, queries = np.load(Path(folder) / "bank.npy"), np.load(Path(folder) / "queries.npy")
    faiss.omp_set_num_threads(cores())
    found: list[NDArray[np.generic]] = []

    def work() -> None:
        rows, asked = bank.copy(), queries.copy()
        faiss.normalize_L2(rows)
        faiss.normalize_L2(asked)
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        found[:] = index.search(asked, int(k))

    return work, lambda: np.savez(Path(folder) / "theirs.npz", similarity=found[0], index=found[1])


def scikit_learn_logistic(folder: str, *path: str) -> Sides:
    """Each penalty begins where the last one ended; its C is the inverse of the number of rows times ours."""
    from sklearn.linear_model import LogisticRegression

    x, y = np.load(Path(folder) / "x.npy"), np.load(Path(folder) / "y.npy")
    found: list[NDArray[np.float32]] = []

    def work() -> None:
        found.clear()
        fit = LogisticRegression(max_iter=1000, warm_start=True)
        for penalty in path:
            fit.set_params(C=1 / (len(x) * float(penalty))).fit(x, y)
            found.append(np.concatenate([fit.coef_, fit.intercept_[:, None]], 1))

    return work, lambda: np.save(Path(folder) / "theta.npy", np.stack(found))
