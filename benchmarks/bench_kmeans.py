"""k-means of 200,000 rows of 512 numbers: Lloyd's rounds from the same centroids, as many of them, on all cores.

    python -m benchmarks.bench_kmeans

Against the faster of faiss-cpu and scikit-learn, each with its fastest BLAS kernel. scikit-learn has no spherical k-means,
and faiss is asked for that: ours does as the faster one does, and the inertia of both is by the same measure.
The rows are 300 broad heaps on the sphere; and pure noise, where nothing is easy to tell apart.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor

from divcon.clustering.kmeans import Rows, _fit, assign
from divcon.machine import Precision

from .array_peers import faiss_kmeans, scikit_learn_kmeans
from .elsewhere import Peer, fastest
from .machines import cores
from .pairs import Row, condition, excess, interleaved, save

ROWS, WIDTH, PAIRS = 200_000, 512, 5
WORSE = 0.1  # percent of inertia that is still the same result
CASES = [
    (5, 20, 300, 1.1),
    (100, 12, 300, 1.2),
    (1000, 4, 300, 1.2),
    (100, 12, 0, None),
]  # clusters, rounds, heaps, aim


def points(heaps: int) -> Float32[np.ndarray, "n d"]:
    """Rows of length one, around so many directions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, WIDTH), np.float32)
    if heaps:
        x += 0.6 * rng.standard_normal((heaps, WIDTH), np.float32)[rng.integers(0, heaps, ROWS)]
    unit: NDArray[np.float32] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit


def inertia(x: Tensor, centroids: Tensor, spherical: bool) -> float:
    return float(assign(x, centroids, spherical)[1].double().sum())


def case(k: int, rounds: int, heaps: int, aim: float | None) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", x := points(heaps))
        peer = fastest([faiss_kmeans, scikit_learn_kmeans], [folder, str(k), str(rounds)], [folder, str(k), "1"])
        rows = torch.from_numpy(x)
        yield from against(peer, Path(folder), rows, k, rounds, "bf16", f"{heaps} heaps" if heaps else "noise", aim)
        if aim:
            yield from against(peer, Path(folder), rows, k, rounds, "fp32", f"{heaps} heaps", None)
        peer.close()


def against(
    peer: Peer, folder: Path, x: Tensor, k: int, rounds: int, precision: Precision, data: str, aim: float | None
) -> Iterator[Row]:  # fmt: skip
    spherical, found = peer.function is faiss_kmeans, list[Tensor]()

    def ours() -> None:
        found[:] = [_fit(Rows(x, spherical, precision), x[:k].clone(), rounds, spherical).centroids]

    ratio = interleaved(ours, peer, PAIRS)
    peer.write()
    theirs = torch.from_numpy(np.load(folder / "centroids.npy"))
    name = f"k-means, K = {k}, {data}, {precision}"
    worse = excess(inertia(x, found[0], spherical), inertia(x, theirs, spherical))
    yield ratio.row(name, str(peer), aim, f"{rounds} rounds")
    yield condition(f"{name}: inertia", str(peer), worse, WORSE, "% above theirs", at_most=True)


def measure() -> Iterator[Row]:
    torch.set_num_threads(cores())
    for k, rounds, heaps, aim in CASES:
        yield from case(k, rounds, heaps, aim)


def main() -> None:
    save("kmeans", measure())


if __name__ == "__main__":
    main()
