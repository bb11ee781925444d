"""The work of the processors beside the GPU: views, clusters and scores, each by the product's own code in one thread."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from divcon.clustering.kmeans import assign, kmeans
from divcon.evals.parts import Parts
from divcon.nets.whitening import Whitening
from divcon.ranks import end_with_parent

from ..instrument.scores import accuracies_of, neighbors, split
from .piles import At, LabelSet, Pile
from .views import center_views, epoch_views

SMALLEST = 128
PARTS = ("validation",)  # the test part is for the end
piles: dict[At, Pile] = {}  # set before the processes are forked


def begin() -> None:
    end_with_parent()
    torch.set_num_threads(1)


def views(at: At, epoch: int, file: str) -> None:
    """Write the views of an epoch; epoch -1: the center views."""
    packed, size = piles[at].packed, at[1]
    np.save(file, center_views(packed, size) if epoch < 0 else epoch_views(packed, epoch, size))


def score(at: At, x: NDArray[np.float32]) -> dict[str, Any]:
    """The scores of features by each label set, for each of PARTS, and the seconds of the processor."""
    begin = time.process_time()
    rows = torch.from_numpy(x)
    white = Whitening.fit(rows)(rows)
    found = {
        name: {part: _on(rows, white, labels, part) for part in PARTS} for name, labels in piles[at].labels.items()
    }
    return {"labels": found, "seconds": round(time.process_time() - begin, 2)}


def _on(x: torch.Tensor, white: torch.Tensor, labels: LabelSet, part: str) -> dict[str, float]:
    parts = split(labels.classes, part)
    found = accuracies_of(x, white, labels.positions, labels.classes, parts, labels.linear)
    return {name: round(its.top1, 5) for name, its in found.items()}


def side_by_side(at: At, parts: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """Scores of several encoders' whitened features side by side, and of as many of their first directions as one encoder has."""
    white = [F.normalize(Whitening.fit(x)(torch.from_numpy(x)), dim=1) for x in parts]
    wide = torch.cat(white, 1)
    narrow = wide - wide.mean(0)
    directions = torch.linalg.eigh(narrow.double().T @ narrow.double())[1].flip(1)[:, : parts[0].shape[1]]
    return {
        "wide": score(at, wide.numpy()),
        "narrow": score(at, (narrow.double() @ directions).float().numpy()),
    }


def divides(at: At, layers: Mapping[str, NDArray[np.float32]], seed: int) -> dict[str, dict[str, float]]:
    """For each label set and layer, the accuracy of as many clusters as there are classes, each with the class that most of its
    images have (DnC, Table 6)."""
    sets = {name: labels for name, labels in piles[at].labels.items() if labels.linear}
    return {name: {layer: _divides(x, labels, seed) for layer, x in layers.items()} for name, labels in sets.items()}


def _divides(x: NDArray[np.float32], labels: LabelSet, seed: int) -> float:
    learn, judged = split(labels.classes, PARTS[0])
    own, y = torch.from_numpy(x[labels.positions]), torch.from_numpy(labels.classes)
    fit = kmeans(own[learn], len(set(labels.classes[learn].tolist())), seed=seed)
    nearest, _ = assign(own[judged], fit.centroids)
    return round(Parts(fit.labels, y[learn], nearest, y[judged]).top1, 5)


def within(at: At, cluster: NDArray[np.int64], encoders: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """For each label set and encoder, whitened 20-NN among the images of each cluster alone, over all clusters."""
    return {
        name: {encoder: _within(x, cluster, labels) for encoder, x in encoders.items()}
        for name, labels in piles[at].labels.items()
    }


def _within(x: NDArray[np.float32], cluster: NDArray[np.int64], labels: LabelSet) -> float:
    """The share of judged images whose neighbors in their own cluster tell their class; the whitening is the cluster's."""
    here, y = torch.from_numpy(labels.positions), torch.from_numpy(labels.classes)
    parts = split(labels.classes, PARTS[0])
    right, judged_images = 0.0, 0
    for k in range(int(cluster.max()) + 1):
        inside = cluster == k
        learn, judged = (part[inside[labels.positions[part]]] for part in parts)
        if len(learn) and len(judged):
            whitening = Whitening.fit(x[inside])
            told = neighbors(whitening(x)[here], y, learn, judged)
            right, judged_images = right + float((told == y[judged]).sum()), judged_images + len(judged)
    return round(right / max(1, judged_images), 5)


def wait(_: int) -> None:
    """Be there: a pool begins a process for each task that waits."""
    time.sleep(0.2)
