"""Average precision, as PASCAL VOC counts it: by 11 points until 2009, by all points since."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

from ..errors import TooFewError
from ..runs.evals import TaskScores

POINTS = 11
METRICS = {"mAP": None, f"mAP ({POINTS} points)": POINTS}


def average_precision(
    scores: Float[np.ndarray, " n"],
    truth: Bool[np.ndarray, " n"],
    *,
    points: int | None = None,
    total: int | None = None,
) -> float:
    """Return the mean, over recalls, of the best precision at this recall or a higher one.

    The recalls are those of all true images, or `points` equally spaced ones from 0 to 1. Images of one score count together, so
    their order changes nothing. There is at least one true image: `total` of them, if some have no score.
    """
    if not len(scores):
        return 0.0
    true_positives, precision = _best_precision(scores, truth)
    total = int(truth.sum()) if total is None else total
    assert total > 0, "no image has the class"
    if points is None:
        gained = np.diff(true_positives, prepend=0)
        return float((gained * precision).sum() / total)
    # in whole numbers: a recall of 3 / 10 is at least 0.3
    needed = np.arange(points) * total
    first = np.searchsorted(true_positives * (points - 1), needed)
    return float(np.append(precision, 0.0)[first].mean())


def _best_precision(
    scores: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " thresholds"], Float[np.ndarray, " thresholds"]]:
    """Return, for falling thresholds, the number of true images above each, and the best precision at it or a lower one."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    precision = hits[ends] / (ends + 1)
    return hits[ends], np.maximum.accumulate(precision[::-1])[::-1]


def each_average_precision(
    scores: Float[np.ndarray, "n classes"], labels: Int64[np.ndarray, "n classes"], *, points: int | None = None
) -> list[float | None]:
    """Return the average precision of each class, without the images of label -1; None for a class without an image."""
    found: list[float | None] = []
    for its_scores, its_labels in zip(scores.T, labels.T, strict=True):
        known, truth = its_labels >= 0, its_labels == 1
        found.append(average_precision(its_scores[known], truth[known], points=points) if truth.any() else None)
    return found


def mean_scores(
    scores: Float[np.ndarray, "n classes"],
    labels: Int64[np.ndarray, "n classes"],
    names: Sequence[str],
    chosen: dict[str, float],
    *,
    points: int | None = None,
) -> TaskScores:
    """Return the mean average precision over the classes with a test image, by all points and by 11; `points` says which one
    tables show. Raises DataError if no class has a test image."""
    both = {name: each_average_precision(scores, labels, points=n) for name, n in METRICS.items()}
    means = {name: mean_of(found) for name, found in both.items()}
    main = next(name for name, n in METRICS.items() if n == points)
    return TaskScores(main, means[main], means, chosen, dict(zip(names, both[main], strict=True)))


def mean_of(found: Sequence[float | None]) -> float:
    """Return the mean of the numbers among these."""
    known = [value for value in found if value is not None]
    if not known:
        raise TooFewError("no class has a test image, so there is no average precision; name other lists by split=")
    return sum(known) / len(known)
