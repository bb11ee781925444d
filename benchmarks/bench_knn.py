"""The 200 nearest of 50,000 rows to each of 10,000, by cosine, on all cores; 512 numbers a row.

    python -m benchmarks.bench_knn

The other side is the flat index of inner products of faiss-cpu, with its fastest BLAS kernel. Both sides begin with the rows
that an encoder returns. The time does not include the vote; the labels that the neighbors of both sides vote for are
compared.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from divcon.clustering.neighbors import nearest
from divcon.evals.knn import vote
from divcon.machine import Precision

from .array_peers import faiss_flat
from .elsewhere import Peer, fastest
from .machines import cores
from .pairs import Row, condition, interleaved, save

BANK, QUERIES, WIDTH, K, CLASSES, PAIRS, AIM = 50_000, 10_000, 512, 200, 100, 5, 1.5
AGREE = 99.9  # percent of labels
SPREAD = 4.0  # of a class, in distances of its middle from the others' in each number: labels are not easy to tell


def features(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """The bank, its labels and the queries."""
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((CLASSES, WIDTH), np.float32)
    labels = rng.integers(0, CLASSES, BANK + QUERIES)
    x = middles[labels] + SPREAD * rng.standard_normal((len(labels), WIDTH), np.float32)
    np.save(folder / "bank.npy", x[:BANK])
    np.save(folder / "queries.npy", x[BANK:])
    return torch.from_numpy(x[:BANK]), torch.from_numpy(labels[:BANK]), torch.from_numpy(x[BANK:])


def against(peer: Peer, folder: Path, given: tuple[Tensor, Tensor, Tensor], precision: Precision) -> Iterator[Row]:
    bank, labels, queries = given
    found: list[Tensor] = []

    def ours() -> None:
        found[:] = nearest(queries, bank, K, precision=precision)

    ratio = interleaved(ours, peer, PAIRS)
    peer.write()
    with np.load(folder / "theirs.npz") as file:
        theirs = [torch.from_numpy(file[name]) for name in ("similarity", "index")]
    winners = [vote(similarity, labels[index], CLASSES, 0.07) for similarity, index in (found, theirs)]
    same = 100 * float((winners[0] == winners[1]).double().mean())
    name = f"kNN, k = {K}, {precision}"
    yield ratio.row(name, str(peer), AIM if precision == "bf16" else None)
    yield condition(f"{name}: labels that agree", str(peer), same, AGREE, "%", at_most=False)


def measure() -> Iterator[Row]:
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as folder:
        given = features(Path(folder))
        peer = fastest([faiss_flat], [folder, str(K)])
        yield from against(peer, Path(folder), given, "bf16")
        yield from against(peer, Path(folder), given, "fp32")
        peer.close()


def main() -> None:
    save("knn", measure())


if __name__ == "__main__":
    main()
