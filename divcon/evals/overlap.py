"""Counts of the classes of pixels, and their overlaps."""

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ..data.labeled.masks import VOID


def pixel_loss(logits: Float[Tensor, "b classes h w"], masks: UInt8[Tensor, "b h w"]) -> Tensor:
    """Return the mean cross-entropy of the pixels that count."""
    total = F.cross_entropy(logits, masks.long(), ignore_index=VOID, reduction="sum")
    return total / (masks != VOID).sum().clamp(min=1)


def confusion_matrix(
    mask: UInt8[np.ndarray, "h w"], told: Int64[np.ndarray, "h w"], classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """Return the counts of true and told classes of the pixels that count."""
    known = mask != VOID
    pairs = mask[known].astype(np.int64) * classes + told[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def overlaps(confusion: Int64[np.ndarray, "classes classes"]) -> list[float | None]:
    """Return, for each class, the pixels that are of it and told so, over those that are either; None for a class without
    pixels."""
    both, true, told = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    return [
        float(b / (t + p - b)) if t else None
        for b, t, p in zip(both.tolist(), true.tolist(), told.tolist(), strict=True)
    ]
