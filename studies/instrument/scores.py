"""The worth of an encoder: 20-NN by its pool as it is and PCA-whitened, and the linear probe.

Whitening is fitted on the whole collection, without labels. Choices are made on the validation part; the test part is for
the end, and is looked at only if `part=test` is typed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from divcon.api.models import encoder_of
from divcon.data.images import Images
from divcon.evals.knn import predict_knn
from divcon.evals.linear import linear
from divcon.evals.scores import Accuracy
from divcon.evals.split import stratified
from divcon.nets.trained import Trained
from divcon.nets.whitening import Whitening

from .piles import ClassOf, Labels, Pile, labeled
from .table import TEST

LEARN = 0.7  # of the images: to learn from rather than to be tested on, and once more of these
SPLIT = 0  # the split's seed, the same for every run of every study
SCORES = ("knn", "whitened", "linear")
K = 20


def scored(model: Trained, images: Images, pile: Pile, part: str, cache: Path) -> dict[str, Any]:
    """For each label set its scores, and how many images and classes they are of."""
    return scores_of(encoder_of(model, images, cache=cache, workers=1).all(), images, pile.labels, pile.apart, part)


def scores_of(
    x: Float[Tensor, "n d"], images: Images, label_sets: Mapping[str, ClassOf], apart: bool, part: str
) -> dict[str, Any]:
    whitening = Whitening.fit(x)
    white = whitening(x)
    found = {name: on(x, white, labeled(images, class_of), part) for name, class_of in label_sets.items()}
    if apart:
        found["mean"] = {score: _mean([its[score] for its in found.values()]) for score in SCORES}
    return {"shrinkage": round(whitening.shrinkage, 6), "parts": found}


def on(x: Float[Tensor, "n d"], white: Float[Tensor, "n d"], labels: Labels, part: str) -> dict[str, Any]:
    """The scores by one label set."""
    learn, judged = split(labels.classes, part)
    accuracies = accuracies_of(x, white, labels.positions, labels.classes, (learn, judged))
    shares = {name: {"top1": its.top1, "balanced": its.balanced} for name, its in accuracies.items()}
    return {**shares, "learn": len(learn), "judged": len(judged), "classes": len(labels.names)}


def accuracies_of(
    x: Float[Tensor, "n d"],
    white: Float[Tensor, "n d"],
    positions: Int64[np.ndarray, " m"],
    classes: Int64[np.ndarray, " m"],
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
    with_linear: bool = True,
) -> dict[str, Accuracy]:
    """The accuracy of neighbors by features as they are and whitened, and of the linear probe. Parts are those of `split`."""
    (learn, judged), y, here = parts, torch.from_numpy(classes), torch.from_numpy(positions)
    told = {"knn": neighbors(x[here], y, learn, judged), "whitened": neighbors(white[here], y, learn, judged)}
    if with_linear:
        told["linear"] = linear(x[here[learn]], y[learn], x[here[judged]], y[judged], seed=SPLIT).predictions
    return {name: Accuracy.of(its, y[judged], int(y.max()) + 1) for name, its in told.items()}


def neighbors(
    x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], learn: NDArray[np.int64], judged: NDArray[np.int64]
) -> Int64[Tensor, " m"]:
    """The class of each judged image by its 20 nearest neighbors among those to learn from, by cosine."""
    return predict_knn(x[learn], y[learn], x[judged], ks=(K,))[K]


def split(classes: Int64[np.ndarray, " n"], part: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions to learn from and to be judged by. No image of the test part is ever in the other two: those of validation
    are taken from what is learned from for the test."""
    rest, test, _ = stratified(classes, LEARN, SPLIT)
    if part == TEST:
        return rest, test
    learn, validation, _ = stratified(classes[rest], LEARN, SPLIT)
    return rest[learn], rest[validation]


def _mean(shares: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([its[name] for its in shares])) for name in ("top1", "balanced")}
