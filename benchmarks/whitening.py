"""The gain of a whitening by neighbors and by a linear classifier, and where it hurts.

    python -m benchmarks.whitening LABELED MODEL... [collection=FOLDER] [linear=true]

For each model: accuracies on the test part of the labeled folder, of features that are raw, centered, standardized and whitened. A
whitening is fitted without labels on the collection (by default the labeled folder), on the training part alone, so that no test
image is in it, and on a few images, with its shrinkage and without; and on a collection in which a tenth of the images occurs 20 times.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from divcon.api.models import encoder_of, find_model
from divcon.data.images import open_images
from divcon.data.labeled.labeled import open_labeled
from divcon.evals.knn import predict_knn
from divcon.evals.linear import linear
from divcon.evals.split import train_test_split
from divcon.files.caches import cache_folder
from divcon.nets import whitening as whitening_file
from divcon.nets.whitening import Whitening

FEW = (16, 64, 256, 1024)  # images that a whitening is fitted on
REPEATED, COPIES = 0.1, 20
DRAWS = 3  # of few images
K = 20

Rows = Float[Tensor, "n d"]


def without_shrinkage(x: Rows) -> Whitening:
    """Return the whitening of the rows with their own covariance."""
    usual = whitening_file._shrinkage
    try:
        whitening_file._shrinkage = lambda *_: 0.0
        return Whitening.fit(x)
    finally:
        whitening_file._shrinkage = usual


def some(x: Rows, n: int, draw: int) -> Rows:
    return x[torch.from_numpy(np.random.default_rng((draw, n)).choice(len(x), min(n, len(x)), replace=False))]


def repeated(x: Rows) -> Rows:
    """Return the rows, of which a tenth occurs COPIES times."""
    return torch.cat([x, some(x, int(REPEATED * len(x)), 0).repeat(COPIES - 1, 1)])


@dataclass(frozen=True)
class Probe:
    """Labeled images: their raw features and their labels, and the positions to learn from and to be tested on."""

    x: Rows
    y: Int64[Tensor, " n"]
    train: NDArray[np.int64]
    test: NDArray[np.int64]

    def neighbors(self, x: Rows) -> float:
        found = predict_knn(x[self.train], self.y[self.train], x[self.test], ks=(K,))[K]
        return 100 * float((found == self.y[self.test]).double().mean())

    def linear(self, x: Rows) -> float:
        return 100 * linear(x[self.train], self.y[self.train], x[self.test], self.y[self.test]).top1


def few(probe: Probe, collection: Rows, n: int, shrunk: bool) -> str:
    """Return the mean accuracy by whitenings of n images, over DRAWS draws."""
    fit = Whitening.fit if shrunk else without_shrinkage
    return f"{np.mean([probe.neighbors(fit(some(collection, n, draw))(probe.x)) for draw in range(DRAWS)]):.1f}"


def measured(probe: Probe, collection: Rows, with_linear: bool = True) -> dict[str, str]:
    """Return a row of the table: accuracies in percent by the names of their columns."""
    x, mean, spread = probe.x, collection.mean(0), collection.std(0).clamp(min=1e-6)
    whole, learned = Whitening.fit(collection), Whitening.fit(x[probe.train])
    row = {
        "features": f"{x.shape[1]}",
        "20-NN raw": f"{probe.neighbors(x):.1f}",
        "centered": f"{probe.neighbors(x - mean):.1f}",
        "standardized": f"{probe.neighbors((x - mean) / spread):.1f}",
        "whitened": f"{probe.neighbors(whole(x)):.1f}",
        "fitted on the training part": f"{probe.neighbors(learned(x)):.1f}",
        "without shrinkage": f"{probe.neighbors(without_shrinkage(collection)(x)):.1f}",
        "a tenth 20 times": f"{probe.neighbors(Whitening.fit(repeated(collection))(x)):.1f}",
    }
    row |= {f"{n} images": f"{few(probe, collection, n, True)} ({few(probe, collection, n, False)})" for n in FEW}
    if with_linear:
        row |= {"linear raw": f"{probe.linear(x):.1f}", "linear whitened": f"{probe.linear(whole(x)):.1f}"}
    return row | {"shrinkage": f"{whole.shrinkage:.4f}"}


def main(labeled: str, *models: str, collection: str = "", linear: str = "true") -> None:
    cache = cache_folder()
    data, images = open_labeled(labeled, cache=cache), open_images(collection or labeled, cache=cache)
    for number, name in enumerate(models):
        encoder = encoder_of(find_model(name), data.images, cache=cache)
        everything = replace(encoder, pixels=encoder_of(find_model(name), images, cache=cache).pixels)
        train, test, _ = train_test_split(data, 0)
        probe = Probe(encoder.all(), torch.from_numpy(data.labels), train, test)
        row = measured(probe, everything.all(), linear == "true")
        if number == 0:
            sys.stdout.write(f"| model | {' | '.join(row)} |\n{'|---' * (len(row) + 1)}|\n")
        sys.stdout.write(f"| {Path(name).name} | {' | '.join(row.values())} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if "=" not in word]
    main(*words, **dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word))
